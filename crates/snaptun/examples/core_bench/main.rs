//! The benchmark's contenders in Rust that are not another project's: our core without Node, and what it stands on, each
//! by itself. `bench/README.md` says what they are compared with.
//!
//! `core_bench ROLE name=value…` answers with lines of JSON, and ends when standard input does.

mod aead;
mod application;
mod client;
mod echo;
mod handshakes;
mod server;
mod task;
mod traffic;
mod tunn;
mod udp;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use task::{Failure, Task};

fn main() -> ExitCode {
    match Task::from_command_line().and_then(|task| run(&task)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "core_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), Failure> {
    match task.role() {
        "server" => server::serve(task),
        "client" => client::run(task),
        "aead" => aead::measure(task),
        "tunn" => tunn::measure(task),
        "udp-server" => udp::receive(task),
        "udp-client" => udp::send(task),
        "handshakes" => handshakes::answer(task),
        "handshake-load" => handshakes::load(task),
        role => Err(format!("there is no role '{role}'").into()),
    }
}
