//! The sending half.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use quinn_udp::{EcnCodepoint, Transmit, UdpSocketState};

use super::{
    Envelope, TRAIN_BYTES, for_socket, max_datagram,
    refusals::Refusals,
    set_up,
    singles::{self, MAX_SINGLES, Single},
};

/// Bytes of single datagrams that are gathered before they go out.
const SINGLES_BYTES: usize = 2 * TRAIN_BYTES;

/// What a sender did so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SendCounts {
    /// Datagrams given to the kernel.
    pub sent: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Datagrams given up, because the kernel refused them: no route, too large for the path, not
    /// permitted.
    pub discarded: u64,
    /// System calls.
    pub calls: u64,
}

/// Why datagrams could not be sent.
#[derive(Debug)]
pub struct SendFailure {
    /// What the system said of the first.
    pub error: io::Error,
    /// Where that was to go.
    pub target: SocketAddr,
    /// How many were discarded, this one and others after it. 0 when the error was left on the
    /// socket by what an earlier datagram met on its way.
    pub discarded: u64,
}

/// Gathers datagrams and sends them a train at a time. Keeps their order, across targets too.
#[derive(Debug)]
pub struct UdpBatchSender {
    state: UdpSocketState,
    /// Whether the socket is IPv6, so that IPv4 targets have to be written as mapped addresses.
    ipv6: bool,
    refusals: Refusals,
    /// The singles, then the train.
    buffer: Vec<u8>,
    singles: Vec<Single>,
    /// Where the first single begins that was not sent.
    singles_start: usize,
    train_start: usize,
    envelope: Envelope,
    /// Size of each datagram of the train but the last.
    segment: usize,
    datagrams: usize,
    /// How many the train can have.
    limit: usize,
    /// The last datagram is shorter than the others: nothing may follow it.
    ended: bool,
    blocked: bool,
    failure: Option<SendFailure>,
    counts: SendCounts,
}

impl UdpBatchSender {
    /// A sender for `socket`, which it sets up for GSO. Datagrams are not fragmented: one that is
    /// too large for its path is refused.
    ///
    /// # Errors
    /// What the system says of the socket options.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        Ok(Self {
            state: set_up(socket)?,
            ipv6: socket.local_addr()?.is_ipv6(),
            refusals: Refusals::default(),
            buffer: Vec::new(),
            singles: Vec::new(),
            singles_start: 0,
            train_start: 0,
            envelope: Envelope::to(SocketAddr::from(([0, 0, 0, 0], 0))),
            segment: 0,
            datagrams: 0,
            limit: 0,
            ended: false,
            blocked: false,
            failure: None,
            counts: SendCounts::default(),
        })
    }

    /// As [`reserve_for`](Self::reserve_for), to `target` from the local address `source`.
    #[inline]
    pub fn reserve(
        &mut self,
        socket: &UdpSocket,
        target: SocketAddr,
        source: Option<IpAddr>,
        length: usize,
    ) -> bool {
        self.reserve_for(socket, &Envelope { target, source, ecn: 0 }, length)
    }

    /// Makes room for one datagram of `length` bytes; sends what is in the way. Returns false when
    /// the kernel takes no more now: then nothing may be pushed until [`flush`](Self::flush) has
    /// succeeded.
    ///
    /// # Panics
    /// When the port is 0 or the datagram larger than UDP carries: check targets and sizes first.
    #[inline]
    pub fn reserve_for(&mut self, socket: &UdpSocket, envelope: &Envelope, length: usize) -> bool {
        assert!(envelope.target.port() != 0 && length <= max_datagram(envelope.target.ip()));
        if self.datagrams > 0 {
            // An empty datagram would add nothing to a train, and be lost in it.
            let fits = !self.ended
                && length <= self.segment
                && length > 0
                && self.datagrams < self.limit
                && self.buffer.len() - self.train_start + length <= TRAIN_BYTES
                && self.envelope == *envelope;
            if fits {
                return true;
            }
            let aside = self.train_is_single()
                && self.singles.len() < MAX_SINGLES - 1
                && self.buffer.len() + length <= SINGLES_BYTES;
            if aside {
                self.set_aside();
            } else if !self.flush(socket) {
                return false;
            }
        } else if self.blocked && !self.flush(socket) {
            return false;
        }
        self.envelope = *envelope;
        self.segment = length;
        self.limit = self.segments(envelope, length);
        true
    }

    /// Adds the datagram that room was made for just now.
    #[inline]
    pub fn push(&mut self, datagram: &[u8]) {
        debug_assert!(datagram.len() <= self.segment && !self.ended);
        self.ended = datagram.len() < self.segment;
        self.buffer.extend_from_slice(datagram);
        self.datagrams += 1;
    }

    /// Sends one datagram by itself or behind others, or discards it when the kernel takes no more.
    #[inline]
    pub fn send(
        &mut self,
        socket: &UdpSocket,
        target: SocketAddr,
        source: Option<IpAddr>,
        datagram: &[u8],
    ) {
        if self.reserve(socket, target, source, datagram.len()) {
            self.push(datagram);
        } else {
            self.counts.discarded += 1;
        }
    }

    /// Sends `data` as datagrams of `size` bytes (the last may be shorter) straight from where it
    /// lies, behind what was gathered. Returns how many datagrams were dealt with; when that is not
    /// all, the kernel takes no more now.
    ///
    /// # Panics
    /// As [`reserve_for`](Self::reserve_for), and when `size` is 0.
    pub fn send_segments(
        &mut self,
        socket: &UdpSocket,
        envelope: &Envelope,
        data: &[u8],
        size: usize,
    ) -> usize {
        assert!(envelope.target.port() != 0 && size <= max_datagram(envelope.target.ip()));
        if !self.flush(socket) {
            return 0;
        }
        let mut done = 0;
        while done * size < data.len() {
            let segments = self.segments(envelope, size).min(TRAIN_BYTES / size).max(1);
            let rest = &data[done * size..];
            let train = &rest[..rest.len().min(segments * size)];
            let dealt_with = self.send_train(socket, envelope, train, size);
            done += dealt_with;
            if dealt_with < train.len().div_ceil(size) {
                // Nothing is kept here; but whoever waits for the socket waits for this.
                self.blocked = true;
                break;
            }
        }
        done
    }

    /// Sends what was gathered. Returns false, and keeps what was not sent, when the kernel takes no
    /// more now. What the kernel refuses for another reason is discarded and counted, so that it
    /// blocks nothing behind it; [`take_failure`](Self::take_failure) tells.
    #[inline]
    pub fn flush(&mut self, socket: &UdpSocket) -> bool {
        if self.datagrams == 0 && self.singles.is_empty() {
            self.blocked = false;
            return true;
        }
        self.blocked = !self.send_gathered(socket);
        !self.blocked
    }

    /// Whether something waits for the socket to become writable.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Why datagrams could not be sent since this was last called.
    pub fn take_failure(&mut self) -> Option<SendFailure> {
        self.failure.take()
    }

    /// What was done so far.
    pub fn counts(&self) -> SendCounts {
        self.counts
    }

    /// Datagrams that a train of such segments can have.
    #[inline]
    fn segments(&mut self, envelope: &Envelope, segment: usize) -> usize {
        match self.state.max_gso_segments() {
            segments if self.refusals.allow(envelope.target.ip(), segment) => segments,
            _ => 1,
        }
    }

    /// Whether the train is one datagram that `sendmmsg` can send.
    #[inline]
    fn train_is_single(&self) -> bool {
        singles::SUPPORTED
            && self.datagrams == 1
            && self.envelope.source.is_none()
            && self.envelope.ecn == 0
    }

    /// Puts the train, which is one datagram, to the singles.
    #[inline]
    fn set_aside(&mut self) {
        if self.singles.is_empty() {
            self.singles_start = self.train_start;
        }
        self.singles.push(Single { target: self.envelope.target, end: self.buffer.len() });
        self.start_train(self.buffer.len());
    }

    fn start_train(&mut self, at: usize) {
        self.train_start = at;
        self.datagrams = 0;
        self.ended = false;
    }

    /// False when something is left.
    fn send_gathered(&mut self, socket: &UdpSocket) -> bool {
        if !self.singles.is_empty() {
            if self.train_is_single() {
                self.set_aside();
            }
            if !self.send_singles(socket) {
                return false;
            }
        }
        if self.datagrams > 0 {
            let buffer = std::mem::take(&mut self.buffer);
            let (envelope, segment) = (self.envelope, self.segment);
            let dealt_with =
                self.send_train(socket, &envelope, &buffer[self.train_start..], segment);
            self.buffer = buffer;
            self.datagrams -= dealt_with;
            if self.datagrams > 0 {
                self.train_start += dealt_with * segment;
                return false;
            }
        }
        self.buffer.clear();
        self.start_train(0);
        true
    }

    /// False when some are left.
    fn send_singles(&mut self, socket: &UdpSocket) -> bool {
        let mut first = 0;
        while first < self.singles.len() {
            self.counts.calls += 1;
            let left = &self.singles[first..];
            match singles::send(socket, self.ipv6, left, &self.buffer, self.singles_start) {
                Ok(taken) => {
                    first += taken;
                    let end = self.singles[first - 1].end;
                    self.counts.sent += taken as u64;
                    self.counts.bytes += (end - self.singles_start) as u64;
                    self.singles_start = end;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.singles.drain(..first);
                    return false;
                }
                Err(error) => {
                    let Single { target, end } = self.singles[first];
                    // Such an error is told once; the datagram itself has done nothing wrong.
                    let discarded = u64::from(!was_left_behind(&error));
                    self.fail(error, target, discarded);
                    if discarded > 0 {
                        first += 1;
                        self.singles_start = end;
                    }
                }
            }
        }
        self.singles.clear();
        true
    }

    /// Sends one train. Returns how many of its datagrams were sent or discarded; when that is not
    /// all, the kernel takes no more now.
    #[inline]
    fn send_train(
        &mut self,
        socket: &UdpSocket,
        envelope: &Envelope,
        train: &[u8],
        segment: usize,
    ) -> usize {
        let datagrams = datagrams_of(train, segment);
        match self.transmit(socket, envelope, train, segment) {
            Ok(()) => {
                self.counts.sent += datagrams as u64;
                self.counts.bytes += train.len() as u64;
                datagrams
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => self.recover(socket, envelope, train, segment, error),
        }
    }

    fn transmit(
        &mut self,
        socket: &UdpSocket,
        envelope: &Envelope,
        contents: &[u8],
        segment: usize,
    ) -> io::Result<()> {
        self.counts.calls += 1;
        let transmit = Transmit {
            destination: for_socket(self.ipv6, envelope.target),
            ecn: EcnCodepoint::from_bits(envelope.ecn),
            contents,
            segment_size: (segment < contents.len()).then_some(segment),
            src_ip: envelope.source,
        };
        self.state.try_send(socket.into(), &transmit)
    }

    /// After an error other than «would block». Returns what [`send_train`](Self::send_train) does.
    ///
    /// `quinn-udp` gives GSO up for good upon `EIO` and `EINVAL`, which an interface without GSO
    /// answers with, but also a single impossible target. So the datagrams are sent one by one, each
    /// judged by itself. When that works, GSO was what the kernel refused, on this way and from this
    /// size on; nobody else's trains are touched by it.
    #[cold]
    fn recover(
        &mut self,
        socket: &UdpSocket,
        envelope: &Envelope,
        train: &[u8],
        segment: usize,
        error: io::Error,
    ) -> usize {
        let datagrams = datagrams_of(train, segment);
        if was_left_behind(&error) {
            // It is told once: now the train gets its chance.
            self.fail(error, envelope.target, 0);
            return match self.transmit(socket, envelope, train, segment) {
                Ok(()) => {
                    self.counts.sent += datagrams as u64;
                    self.counts.bytes += train.len() as u64;
                    datagrams
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    self.fail(error, envelope.target, datagrams as u64);
                    datagrams
                }
            };
        }
        let gave_up = self.gave_up_segmentation();
        if envelope.source.is_some() && may_be_about_source(&error) {
            // That of a broadcast, or one that is gone. The route has another.
            self.renew(socket);
            let envelope = Envelope { source: None, ..*envelope };
            return self.send_train(socket, &envelope, train, segment);
        }
        let mut done = 0;
        if datagrams == 1 || !(gave_up || quinn_udp::is_msg_size_err(&error)) {
            self.fail(error, envelope.target, datagrams as u64);
            done = datagrams;
        } else {
            let mut sent = 0;
            for datagram in train.chunks(segment) {
                match self.transmit(socket, envelope, datagram, segment) {
                    Ok(()) => {
                        sent += 1;
                        self.counts.sent += 1;
                        self.counts.bytes += datagram.len() as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => self.fail(error, envelope.target, 1),
                }
                done += 1;
            }
            if gave_up && sent > 0 {
                self.refusals.note(envelope.target.ip(), segment);
            }
        }
        self.renew(socket);
        done
    }

    /// Forgets that `quinn-udp` gave segmentation up.
    fn renew(&mut self, socket: &UdpSocket) {
        if self.gave_up_segmentation()
            && let Ok(state) = set_up(socket)
        {
            self.state = state;
        }
    }

    /// Whether `quinn-udp` just did, for the whole socket.
    fn gave_up_segmentation(&self) -> bool {
        cfg!(target_os = "linux") && self.state.max_gso_segments() == 1
    }

    #[cold]
    fn fail(&mut self, error: io::Error, target: SocketAddr, discarded: u64) {
        self.counts.discarded += discarded;
        match &mut self.failure {
            Some(failure) => failure.discarded += discarded,
            none => *none = Some(SendFailure { error, target, discarded }),
        }
    }
}

/// How many datagrams a train has. An empty train is one empty datagram.
#[inline]
fn datagrams_of(train: &[u8], segment: usize) -> usize {
    if train.len() <= segment { 1 } else { train.len().div_ceil(segment) }
}

/// Whether an error may say that the source is no address to send from.
fn may_be_about_source(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput, NetworkUnreachable};
    matches!(error.kind(), AddrNotAvailable | InvalidInput | NetworkUnreachable)
}

/// Whether an error concerns what was sent earlier: ICMP answered, and the socket is connected.
fn was_left_behind(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}
