//! Bare UDP with GSO and GRO through `quinn-udp`, in clear: what the sockets can do. Datagrams are as long as those of a
//! tunnel, and their payload is what counts.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use snaptun::{DATA_OVERHEAD, MAX_DATAGRAM_V4};
use socket2::SockRef;
use tokio::io::Interest;

use crate::{
    task::{Failure, Task, Value, say, told_to_end},
    traffic::{Meter, Source, say_sent},
};

/// Datagrams that the kernel cuts out of one send at most.
const SEGMENTS: usize = 64;
/// Bytes that a coalesced message has at most.
const MESSAGE: usize = 65_536;
/// How often the end is looked for while nothing comes.
const NAP: Duration = Duration::from_millis(20);

fn socket(task: &Task) -> Result<(UdpSocket, UdpSocketState), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let bytes = task.parsed("socketBuffer")?;
    let options = SockRef::from(&socket);
    options.set_recv_buffer_size(bytes)?;
    options.set_send_buffer_size(bytes)?;
    socket.set_nonblocking(true)?;
    let state = UdpSocketState::new((&socket).into())?;
    Ok((socket, state))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

pub(crate) fn receive(task: &Task) -> Result<(), Failure> {
    let size: usize = task.parsed("size")?;
    let mut meter = Meter::new(size + DATA_OVERHEAD, 1);
    let (socket, state) = socket(task)?;
    let ended = told_to_end(thread::current())?;
    say([("listening", Value::Text(socket.local_addr()?.to_string()))])?;
    let mut buffers = vec![0; BATCH_SIZE * MESSAGE];
    let mut meta = [RecvMeta::default(); BATCH_SIZE];
    runtime()?.block_on(async {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        while !ended.load(Ordering::Acquire) {
            // The end wakes nobody here.
            if tokio::time::timeout(NAP, socket.readable()).await.is_err() {
                continue;
            }
            let mut chunks = buffers.chunks_exact_mut(MESSAGE);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let received = socket.try_io(Interest::READABLE, || {
                state.recv((&socket).into(), &mut slices, &mut meta)
            });
            let messages = match received {
                Ok(messages) => messages,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            for (slice, meta) in slices.iter().zip(&meta[..messages]) {
                slice[..meta.len].chunks(meta.stride.max(1)).for_each(|one| meter.packet(one));
            }
            meter.batch_end();
        }
        Ok(())
    })?;
    meter.say(size)
}

pub(crate) fn send(task: &Task) -> Result<(), Failure> {
    let size = task.parsed::<usize>("size")? + DATA_OVERHEAD;
    let destination: SocketAddr = task.parsed("server")?;
    let length = task.seconds()?;
    let (socket, state) = socket(task)?;
    let segments = SEGMENTS.min(MAX_DATAGRAM_V4 / size).max(1);
    let mut source = Source::new(size, segments, 1)?;
    let start = Instant::now();
    runtime()?.block_on(async {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        while start.elapsed() < length {
            let contents = source.fill(0).bytes();
            let segment_size = Some(size);
            let transmit =
                Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            while let Err(error) =
                socket.try_io(Interest::WRITABLE, || state.try_send((&socket).into(), &transmit))
            {
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                socket.writable().await?;
            }
        }
        Ok(())
    })?;
    say_sent(source.made(), start.elapsed().as_secs_f64())
}
