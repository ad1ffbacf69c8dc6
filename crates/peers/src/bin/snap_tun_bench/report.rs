//! The lines of JSON.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use serde::Serialize;

use crate::Failure;

#[derive(Serialize)]
pub(crate) struct Listening {
    pub(crate) listening: SocketAddr,
}

#[derive(Serialize)]
pub(crate) struct Keys {
    pub(crate) private: String,
    pub(crate) public: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerReport {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// From the first packet to the last.
    pub(crate) seconds: f64,
    pub(crate) gbit_per_second: f64,
    /// Numbers up to the highest of each tunnel that did not arrive.
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) undelivered: u64,
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
}

/// What a client sent, or a server that floods.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadReport {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) gbit_per_second: f64,
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
}

/// What a client received.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DownloadReport {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// From the first packet to the last.
    pub(crate) seconds: f64,
    pub(crate) gbit_per_second: f64,
    /// Numbers up to the highest of each tunnel that did not arrive.
    pub(crate) lost: u64,
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EchoReport {
    pub(crate) count: usize,
    pub(crate) lost: u64,
    /// That the measured round trips took together.
    pub(crate) seconds: f64,
    pub(crate) median_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) min_us: f64,
    pub(crate) max_us: f64,
}

pub(crate) fn print(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}

pub(crate) fn gbit_per_second(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 * 8e-9 / seconds } else { 0.0 }
}
