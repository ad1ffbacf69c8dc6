//! The measuring binary as the benchmark suite runs it: processes, arguments, lines of JSON.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_snap-tun-bench"))
}

fn json(command: &mut Command) -> Result<Value, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(value: &Value, name: &str) -> Result<String, Failure> {
    let text = value[name].as_str().ok_or("no text of this name")?;
    Ok(text.to_owned())
}

struct Keys {
    private: String,
    public: String,
}

fn keys() -> Result<Keys, Failure> {
    let value = json(bench().arg("keygen"))?;
    Ok(Keys { private: text(&value, "private")?, public: text(&value, "public")? })
}

/// A server process; killed if a test fails before it has ended.
struct Server {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(keys: &Keys, authorize: &str, extra: &[&str]) -> Result<Self, Failure> {
        let mut process = bench()
            .args(["server", "--listen", "127.0.0.1:0"])
            .args(["--private-key", &keys.private, "--authorize", authorize])
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("no standard output")?;
        let mut server =
            Self { process, input, output: BufReader::new(output), address: String::new() };
        server.address = text(&server.line()?, "listening")?;
        Ok(server)
    }

    fn line(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn end(&mut self) -> Result<Value, Failure> {
        self.input = None;
        let report = self.line()?;
        if !self.process.wait()?.success() {
            return Err("the server failed".into());
        }
        Ok(report)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client(server: &Server, server_keys: &Keys, keys: &Keys) -> Command {
    let mut command = bench();
    command
        .args(["client", "--server", &server.address])
        .args(["--private-key", &keys.private])
        .args(["--server-public-key", &server_keys.public]);
    command
}

fn uploads_via(via: &str) -> Result<(), Failure> {
    let (theirs, ours) = (keys()?, keys()?);
    let mut server = Server::start(&theirs, &ours.public, &[])?;
    let sent = json(client(&server, &theirs, &ours).args([
        "--size",
        "1400",
        "--seconds",
        "0.3",
        "--via",
        via,
    ]))?;
    let counted = server.end()?;
    let packets = sent["packets"].as_u64().ok_or("no packets")?;
    let arrived = counted["packets"].as_u64().ok_or("no packets")?;
    assert!(packets > 0 && sent["bytes"] == packets * 1400, "{sent}");
    // Some may be lost: it is UDP at full rate.
    assert!(arrived > 0 && arrived <= packets, "{sent} {counted}");
    assert_eq!(counted["bytes"], arrived * 1400);
    assert!(counted["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    Ok(())
}

#[test]
fn an_upload_is_counted_on_both_sides() -> Result<(), Failure> {
    uploads_via("send")
}

#[test]
fn an_upload_without_waiting_is_counted_on_both_sides() -> Result<(), Failure> {
    uploads_via("try-send")
}

#[test]
fn an_upload_in_batches_is_counted_on_both_sides() -> Result<(), Failure> {
    uploads_via("batch")
}

#[test]
fn a_download_is_counted_on_both_sides() -> Result<(), Failure> {
    for via in ["send", "try-send", "batch"] {
        let (theirs, ours) = (keys()?, keys()?);
        let mut server = Server::start(&theirs, &ours.public, &["--flood", "--size", "1400"])?;
        let counted = json(client(&server, &theirs, &ours).args([
            "--receive",
            "--seconds",
            "0.3",
            "--via",
            via,
        ]))?;
        let sent = server.end()?;
        let packets = sent["packets"].as_u64().ok_or("no packets")?;
        let arrived = counted["packets"].as_u64().ok_or("no packets")?;
        // Some may be lost: it is UDP at full rate.
        assert!(arrived > 0 && arrived <= packets, "{via}: {sent} {counted}");
        assert_eq!(counted["bytes"], arrived * 1400);
        assert_eq!(sent["bytes"], packets * 1400);
        let seconds = counted["seconds"].as_f64().ok_or("no seconds")?;
        // Their client's own task may hold the thread for a while.
        assert!(seconds > 0.0 && seconds < 5.0, "{via}: {counted}");
    }
    Ok(())
}

#[test]
fn a_flood_that_echoes_is_refused() -> Result<(), Failure> {
    let keys = keys()?;
    let output = bench()
        .args(["server", "--private-key", &keys.private, "--authorize", &keys.public])
        .args(["--flood", "--echo"])
        .stdin(Stdio::null())
        .output()?;
    assert!(!output.status.success());
    Ok(())
}

#[test]
fn an_echo_reports_median_and_p99() -> Result<(), Failure> {
    for via in ["send", "batch"] {
        let (theirs, ours) = (keys()?, keys()?);
        let mut server = Server::start(&theirs, &ours.public, &["--echo"])?;
        let report =
            json(client(&server, &theirs, &ours).args(["--echo", "--count", "50", "--via", via]))?;
        assert_eq!(report["count"], 50);
        let median = report["medianUs"].as_f64().ok_or("no median")?;
        let p99 = report["p99Us"].as_f64().ok_or("no p99")?;
        assert!(median > 0.0 && median <= p99, "{report}");
        assert_eq!(server.end()?["packets"], 250, "50 measured and 200 to warm up");
    }
    Ok(())
}

#[test]
fn bad_arguments_fail_with_a_message() -> Result<(), Failure> {
    let output = bench().args(["server", "--private-key", "12", "--authorize", "34"]).output()?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("64 hexadecimal digits"));
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn a_core_that_does_not_exist_is_an_error() -> Result<(), Failure> {
    let keys = keys()?;
    let output = bench()
        .args(["server", "--private-key", &keys.private])
        .args(["--authorize", &keys.public, "--cpu", "1023"])
        .stdin(Stdio::null())
        .output()?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot pin to core 1023"));
    Ok(())
}
