/** What `UdpBatchSocket.stats()` returns. Counters only grow; what is a level and not a counter says so. */
export interface UdpStats {
  /** Datagrams that were put into the receive queue. */
  readonly datagramsReceived: number
  /** Bytes of their content. */
  readonly bytesReceived: number
  /** System calls that took: with GRO one brings many datagrams. */
  readonly receiveCalls: number
  /** Datagrams handed to the operating system. */
  readonly datagramsSent: number
  /** Bytes of their content. */
  readonly bytesSent: number
  /** System calls that took: with GSO one carries many datagrams. */
  readonly sendCalls: number
  /** Datagrams dropped because the receive queue was full. */
  readonly droppedReceiveQueueFull: number
  /** Datagrams from another address than that to which the socket is connected. */
  readonly droppedForeign: number
  /** Datagrams that the operating system refused to send: too large for the path, no route, not permitted. */
  readonly droppedBySystem: number
  /**
   * Datagrams of a batch that could not be sent to their target: its port is 0, it is of a family that the socket has
   * not, or the datagram is larger than that family's carry.
   */
  readonly droppedImpossible: number
  /** Errors of receiving from the socket; see the event `error`. */
  readonly socketErrors: number
  /** Datagrams in the receive queue now: a level. */
  readonly receiveQueueDatagrams: number
  /** Datagrams in the send queue now: a level. */
  readonly sendQueueDatagrams: number
  /**
   * What the operating system buffers for receiving, in bytes: a level, and 0 when the socket is closed. Linux says twice
   * what it was asked for, and gives no more than `net.core.rmem_max`. What does not fit is lost without being counted
   * here (`RcvbufErrors` in `/proc/net/snmp`).
   */
  readonly socketReceiveBufferBytes: number
  /** The same for sending; on Linux `net.core.wmem_max`. */
  readonly socketSendBufferBytes: number
}
