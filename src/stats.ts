/**
 * What is counted. Counters only grow, and count from the moment of opening; what is a level and not a counter says so.
 */

/** What tunnels and servers count alike. A server sums up its shards. */
export interface TrafficStats {
  /** Packets that arrived, were genuine, and were put into the receive queue. */
  readonly packetsReceived: number
  /** Bytes of these packets, without any headers. */
  readonly bytesReceived: number
  /** Packets that were encrypted for sending. */
  readonly packetsSent: number
  /** Bytes of these packets, without any headers. */
  readonly bytesSent: number
  /** UDP datagrams handed to the operating system; handshakes and keepalives too. */
  readonly datagramsSent: number
  /** System calls that took: with GSO one carries many datagrams. */
  readonly sendCalls: number
  /** Packets dropped because the receive queue was full. */
  readonly droppedReceiveQueueFull: number
  /** Datagrams that the operating system refused to send: no route, interface down, port unreachable. */
  readonly droppedBySystem: number
  /** Packets dropped because they don't fit into a datagram on their path. */
  readonly droppedOversized: number
  /** Datagrams that are no message of the protocol. */
  readonly droppedMalformed: number
  /** Datagrams that could not be decrypted, or didn't belong to a session. */
  readonly droppedInvalid: number
  /** Packets that had arrived before, or too late to know. */
  readonly droppedReplayed: number
  /** Errors of receiving from the socket. */
  readonly socketErrors: number
  /** Keepalives that arrived. */
  readonly keepalivesReceived: number
  /** Handshakes that were completed. */
  readonly handshakes: number
  /** Packets in the receive queue now: a level. */
  readonly receiveQueuePackets: number
  /** Packets in the send queue now: a level. */
  readonly sendQueuePackets: number
  /**
   * What the operating system buffers for receiving, in bytes: a level. Linux says twice what it was asked for, and gives
   * no more than `net.core.rmem_max`. What does not fit is lost without being counted here (`RcvbufErrors` in
   * `/proc/net/snmp`).
   */
  readonly socketReceiveBufferBytes: number
  /** The same for sending; on Linux `net.core.wmem_max`. */
  readonly socketSendBufferBytes: number
}

/** What `SnapTunnel.stats()` returns. */
export interface TunnelStats extends TrafficStats {
  /** Datagrams from another address than the server's. */
  readonly droppedForeign: number
  /** Packets dropped because there was no session, and no room for more to wait. */
  readonly droppedWithoutSession: number
  /** Handshakes that this side started, answered or not. */
  readonly handshakesStarted: number
  /** Cookies that the server answered with: it is under load, and the next handshake proves this side's address. */
  readonly cookiesReceived: number
  /** Cookies sent, because more handshakes came from the server's address than a server makes. */
  readonly cookiesSent: number
}

/** What `stats()` of a server's tunnel returns. */
export interface ServerTunnelStats {
  /** Packets that arrived and were genuine. */
  readonly packetsReceived: number
  /** Bytes of these packets, without any headers. */
  readonly bytesReceived: number
  /** Packets that were encrypted for sending. */
  readonly packetsSent: number
  /** Bytes of these packets, without any headers. */
  readonly bytesSent: number
}

/** What `SnapTunServer.stats()` returns. */
export interface ServerStats extends TrafficStats {
  /** Tunnels now, those too that have not yet shown that they hear us: a level. */
  readonly tunnels: number
  /** Handshakes of identities that may not pass. */
  readonly handshakesRefused: number
  /** Handshakes refused because `maxTunnels`, `maxTunnelsPerIdentity` or `maxPendingAuthorizations` was reached. */
  readonly handshakesAtCapacity: number
  /** Handshakes that had been seen before. */
  readonly handshakesReplayed: number
  /** Handshakes that proved nothing: for another server's key, forged, or damaged. */
  readonly handshakesInvalid: number
  /** Handshakes dropped under load: too many waited their turn, or came from one network. */
  readonly handshakesRateLimited: number
  /** Cookies that handshakes were answered with: under load, or for an address that another identity holds. */
  readonly handshakeCookies: number
  /** Handshakes that wait their turn now: a level. */
  readonly handshakesPending: number
  /** Handshakes that wait for an answer of `authorize` now: a level. */
  readonly authorizationsPending: number
  /** Datagrams that reached another shard than the tunnel's, faster than they could be handed over. */
  readonly droppedHandoverFull: number
  /** Datagrams for a session that doesn't exist. */
  readonly droppedUnknown: number
  /** Packets, in and out, of identities that may not pass any more. */
  readonly droppedUnauthorized: number
  /** Packets to tunnels that had no session left. */
  readonly droppedNoSession: number
  /** Packets that were sent to tunnels after these had closed. */
  readonly lateSends: number
  /** Calls of `authorize` that threw, rejected, or returned what is no authorization. */
  readonly authorizeErrors: number
  /** Calls of `authorize` that did not settle in time. */
  readonly authorizeTimeouts: number
  /** Calls of `authorize` that wait for an answer now: a level. */
  readonly authorizePending: number
}
