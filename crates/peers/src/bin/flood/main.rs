//! Sends what a server has to withstand: forged and worthless datagrams, many of them.
//!
//! For tests and measurements against a server of one's own. Results are JSON, one object a line, on standard
//! output; whoever tests reads them there.

mod capture;
mod datagrams;
mod source;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use datagrams::{Kind, Material};
use serde::Serialize;
use snaptun_peers::{Key, parse_key};
use source::{Network, Source};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How often what is due is sent: short enough that a receiver's buffer holds what comes at once.
const INTERVAL: Duration = Duration::from_micros(500);

#[derive(Parser)]
#[command(about = "Floods a SNAPtun server, to test that it withstands it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends datagrams of one kind, and says how many.
    Send(SendArgs),
    /// Waits for an initiation that somebody else sends through this network namespace, and prints it. Needs root.
    Capture(CaptureArgs),
}

#[derive(Args)]
struct SendArgs {
    /// What to send.
    #[arg(value_enum)]
    kind: Kind,
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// The server's identity, in hexadecimal; needed for initiations.
    #[arg(long, value_parser = parse_key)]
    server_public_key: Option<Key>,
    /// The identity that initiates, in hexadecimal; without it each initiation has another.
    #[arg(long, value_parser = parse_key)]
    private_key: Option<Key>,
    /// The initiation to replay, in hexadecimal, as `capture` prints it; without it a new one is replayed.
    #[arg(long, value_parser = parse_datagram)]
    datagram: Option<Datagram>,
    /// How many different datagrams are prepared.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    variants: u16,
    /// Datagrams a second; 0: as fast as it goes.
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// How long.
    #[arg(long, default_value_t = 1.0, value_parser = parse_seconds)]
    seconds: f64,
    /// UDP ports to send from in turn.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    ports: u16,
    /// Forge IPv4 source addresses out of this network, in turn, with any port. Needs root.
    #[arg(long, value_name = "CIDR")]
    forge: Option<Network>,
    /// The port to forge.
    #[arg(long, requires = "forge")]
    forge_port: Option<u16>,
}

#[derive(Args)]
struct CaptureArgs {
    /// The server's port.
    #[arg(long)]
    to_port: u16,
    /// How long to wait for it.
    #[arg(long, default_value_t = 10.0, value_parser = parse_seconds)]
    seconds: f64,
}

#[derive(Clone)]
struct Datagram(Vec<u8>);

#[derive(Serialize)]
struct Report {
    sent: u64,
    /// Datagrams that the system refused.
    failed: u64,
    seconds: f64,
    /// Sent a second.
    rate: f64,
}

fn parse_datagram(text: &str) -> Result<Datagram, String> {
    hex::decode(text).map(Datagram).map_err(|error| error.to_string())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.01 to 600".to_owned()),
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Send(args) => send(&args),
        Command::Capture(args) => {
            capture::capture(args.to_port, Duration::from_secs_f64(args.seconds))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "flood: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(args: &SendArgs) -> Result<(), Failure> {
    let material = Material {
        server: args.server_public_key,
        private_key: args.private_key,
        datagram: args.datagram.as_ref().map(|datagram| datagram.0.as_slice()),
    };
    let datagrams = args.kind.prepare(&material, args.variants)?;
    let mut source = match args.forge {
        Some(network) => Source::forged(network, args.forge_port, args.to)?,
        None => Source::plain(args.to, args.ports)?,
    };
    print(&flood(&mut source, &datagrams, args.rate, Duration::from_secs_f64(args.seconds)))
}

/// Sends the datagrams in turn at a rate, or as fast as it goes.
fn flood(source: &mut Source, datagrams: &[Vec<u8>], rate: u64, length: Duration) -> Report {
    let start = Instant::now();
    let (mut sent, mut failed) = (0, 0);
    let mut turn = datagrams.iter().cycle();
    loop {
        let elapsed = start.elapsed();
        if elapsed >= length {
            break;
        }
        let due = match rate {
            0 => sent + failed + datagrams.len() as u64,
            _ => (elapsed.as_secs_f64() * rate as f64) as u64 + 1,
        };
        while sent + failed < due {
            let Some(datagram) = turn.next() else { break };
            match source.send(datagram) {
                Ok(()) => sent += 1,
                Err(_) => failed += 1,
            }
        }
        if rate > 0 {
            thread::sleep(INTERVAL);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Report { sent, failed, seconds, rate: sent as f64 / seconds }
}

fn print(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}
