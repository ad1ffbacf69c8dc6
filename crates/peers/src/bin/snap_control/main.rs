//! The control plane of the crate `snap-control`, for tests against the real one.
//!
//! It checks real tokens and keeps real registrations. What the crate leaves to its user is told on the command line:
//! the key that tokens are signed with, and where the data plane is. Unless another is named, that is the crate
//! `snap-tun`'s own server, in this process, which echoes to whoever registered. Results are JSON, one object a line,
//! on standard output.

mod data_plane;
mod report;
mod unused;

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use data_plane::{DataPlane, EchoServer};
use jsonwebtoken::DecodingKey;
use report::{Listening, Reporting, print};
use scion_sdk_observability::metrics::registry::MetricsRegistry;
use snap_control::server::{SnapTokenVerifier, build_router, metrics::Metrics};
use snaptun_peers::{Key, parse_key};
use tokio::{net::TcpListener, sync::oneshot};
use unused::Nothing;
use url::Url;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(
    about = "The control plane of the crate snap-control 0.8.6; ends when standard input does"
)]
struct Cli {
    /// Where to listen for HTTP; port 0 lets the system choose.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The public key of Ed25519 that tokens have to be signed with, in hexadecimal.
    #[arg(long, value_parser = parse_key)]
    token_key: Key,
    /// The data plane that clients are told of; without it an echo server of the crate `snap-tun`.
    #[arg(long)]
    data_plane: Option<SocketAddr>,
    /// The public key that clients are told for it, in hexadecimal; without it they are told none.
    #[arg(long, value_parser = parse_key, requires = "data_plane")]
    data_plane_key: Option<Key>,
    /// The URL that clients are told to register at; without it they are told none.
    #[arg(long)]
    registration_url: Option<Url>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "snap-control: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(options: Cli) -> Result<(), Failure> {
    let input_ended = input_ended()?;
    let (data_plane, echo) = match options.data_plane {
        Some(address) => (DataPlane { address, public_key: options.data_plane_key }, None),
        None => {
            let echo = EchoServer::start()?;
            (echo.data_plane(), Some(echo))
        }
    };
    let router = build_router(
        Nothing,
        Url::parse("http://unused.invalid")?,
        Nothing,
        data_plane.resolver(options.registration_url),
        Arc::new(Reporting::new(echo)),
        None,
        // Its «DER» of an Ed25519 key is the 32 bytes themselves.
        SnapTokenVerifier::new(DecodingKey::from_ed_der(&options.token_key)),
        Metrics::new(&MetricsRegistry::new()),
    )?;
    let listener = TcpListener::bind(options.listen).await?;
    print(&Listening { listening: listener.local_addr()?, data_plane: data_plane.address })?;
    tokio::select! {
        result = axum::serve(
            listener,
            router.into_make_service_with_connect_info::<SocketAddr>(),
        ) => Ok(result?),
        _ = input_ended => Ok(()),
    }
}

/// Resolves when standard input ends.
fn input_ended() -> io::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    // A thread of its own, not tokio's: a read that blocks would keep the runtime from ending.
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        let mut buffer = [0; 256];
        while matches!(input.read(&mut buffer), Ok(1..)) {}
        // The server may have ended meanwhile.
        let _ = sender.send(());
    })?;
    Ok(receiver)
}
