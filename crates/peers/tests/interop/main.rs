//! Interoperation with the crate `snap-tun` over real sockets: its server with our client, its clients with our server,
//! and, so that a failure can be told from one of the harness, its client with its own server.
//!
//! Nothing here is lost on the way: what is under way never exceeds what the smallest queue takes.

mod common;
mod harness;
mod our_client;
mod our_server;
