//! Measures the crate `snap-tun`: goodput one way or the other, and one packet to and fro.
//!
//! Server and client are processes of their own, each on one thread, which can be pinned to a core. Results are
//! JSON, one object a line, on standard output; whoever compares reads them there.

mod clients;
mod download;
mod echo;
mod packets;
mod report;
mod server;
mod upload;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use packets::{HEAD, LARGEST};
use report::{Keys, print};
use snaptun_peers::{Key, KeyPair, parse_key};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(version, about = "Measures the crate snap-tun 0.8.6")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receives, and counts or sends back, or floods; ends when standard input does, or on SIGTERM.
    Server(ServerArgs),
    /// Uploads as fast as it goes, or counts what is delivered, or measures one packet to and fro.
    Client(ClientArgs),
    /// Prints a fresh pair of keys.
    Keygen,
}

#[derive(Args)]
struct Process {
    /// Core that the whole process is pinned to.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Bytes of socket buffer, for each direction.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    socket_buffer: usize,
}

#[derive(Args)]
struct ServerArgs {
    /// Where to listen; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server's key, in hexadecimal.
    #[arg(long, value_parser = parse_key)]
    private_key: Key,
    /// Identities that may pass, in hexadecimal, separated by commas.
    #[arg(long, value_parser = parse_key, value_delimiter = ',', required = true)]
    authorize: Vec<Key>,
    /// Send each packet back.
    #[arg(long)]
    echo: bool,
    /// Send as fast as it goes, to as many clients as --tunnels says, in turn, once all are there.
    #[arg(long, conflicts_with = "echo")]
    flood: bool,
    /// Report what arrived, also with a flood.
    #[arg(long)]
    count: bool,
    /// Clients that are expected.
    #[arg(long, default_value_t = 1, value_parser = parse_tunnels)]
    tunnels: usize,
    /// Handshake messages a second from one address before cookies are asked for.
    #[arg(long, default_value_t = 100)]
    handshake_limit: u64,
    /// Bytes of payload of a flood.
    #[arg(long, default_value_t = 1400, value_parser = parse_size)]
    size: usize,
    #[command(flatten)]
    process: Process,
}

#[derive(Args)]
struct ClientArgs {
    /// The server's address.
    #[arg(long)]
    server: SocketAddr,
    /// The client's key, in hexadecimal.
    #[arg(long, value_parser = parse_key)]
    private_key: Key,
    /// The server's identity, in hexadecimal.
    #[arg(long, value_parser = parse_key)]
    server_public_key: Key,
    /// Bytes of payload.
    #[arg(long, default_value_t = 1400, value_parser = parse_size)]
    size: usize,
    /// How long to upload, or to count from the first packet on.
    #[arg(long, default_value_t = 5.0, value_parser = parse_seconds)]
    seconds: f64,
    /// One packet at a time, to and fro, instead of an upload.
    #[arg(long)]
    echo: bool,
    /// Count what a server that floods delivers, instead of an upload.
    #[arg(long, conflicts_with = "echo")]
    receive: bool,
    /// Send as fast as it goes beside that.
    #[arg(long, requires = "receive")]
    send: bool,
    /// Packets to and fro.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many of them are on their way at once.
    #[arg(long, default_value_t = 1, value_parser = parse_in_flight)]
    in_flight: usize,
    /// Tunnels that are opened; an echo uses the first.
    #[arg(long, default_value_t = 1, value_parser = parse_tunnels)]
    tunnels: usize,
    /// Packets that `SnapTunnel` keeps for the one who receives. Its task goes on for as long as the socket has
    /// datagrams, and drops what finds the queue full: with 4,096 it delivers less than half of what it does with
    /// this (measured).
    #[arg(long, value_name = "PACKETS", default_value_t = 65_536)]
    receive_queue: usize,
    /// What sends or receives; the default is the fastest that `SnapTunnel` has.
    #[arg(long, value_enum, default_value_t = Via::TrySend)]
    via: Via,
    #[command(flatten)]
    process: Process,
}

/// The ways through the crate's public interface.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// `SnapTunnel::send`, and `recv`.
    Send,
    /// `SnapTunnel::try_send`, and `try_recv`.
    TrySend,
    /// No `SnapTunnel`: a `Tunn`, an `UdpBatchSender` and an `UdpBatchReceiver`, put together by hand.
    Batch,
}

fn parse_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if (HEAD..=LARGEST).contains(&size) => Ok(size),
        _ => Err(format!("a size is {HEAD} to {LARGEST} bytes")),
    }
}

fn parse_tunnels(text: &str) -> Result<usize, String> {
    parse_count(text, 1024)
}

fn parse_in_flight(text: &str) -> Result<usize, String> {
    parse_count(text, 4096)
}

fn parse_count(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(format!("from 1 to {most}")),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.01 to 3600".to_owned()),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "snap-tun-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Keygen => {
            let pair = KeyPair::generate()?;
            print(&Keys { private: hex::encode(pair.private), public: hex::encode(pair.public) })
        }
        Command::Server(args) => on_one_thread(args.process.cpu, server::serve(args)),
        Command::Client(args) => on_one_thread(args.process.cpu, async {
            if args.receive {
                download::download(&args).await
            } else if args.echo {
                echo::echo(&args).await
            } else {
                upload::upload(&args).await
            }
        }),
    }
}

fn on_one_thread(
    cpu: Option<usize>,
    task: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    if let Some(cpu) = cpu {
        // Before the runtime exists: a thread inherits the affinity of the one that starts it.
        pin(cpu)?;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

#[cfg(target_os = "linux")]
fn pin(cpu: usize) -> Result<(), Failure> {
    use nix::{
        sched::{CpuSet, sched_setaffinity},
        unistd::Pid,
    };
    let failed = |error| format!("cannot pin to core {cpu}: {error}");
    let mut cores = CpuSet::new();
    cores.set(cpu).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &cores).map_err(failed)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn pin(_cpu: usize) -> Result<(), Failure> {
    Err("--cpu works on Linux only".into())
}
