/**
 * Tells of a kernel that gave a server's sockets smaller buffers than it was asked for, which is the usual reason for
 * packets that are lost without a trace.
 */
import { publish } from './diagnostics.js'
import type { ServerStats } from './stats.js'

/** Linux reserves as much again for its own bookkeeping, and says the sum (socket(7), SO_RCVBUF). */
const REPORTED = process.platform === 'linux' ? 2 : 1

/** Publishes once on `snaptun:socketbuffer` if a socket of `server` has less than `asked` bytes either way. */
export function reportSmallBuffers(server: object, stats: ServerStats, asked: number, sockets: number): void {
  const receive = stats.socketReceiveBufferBytes / sockets / REPORTED
  const send = stats.socketSendBufferBytes / sockets / REPORTED
  if (receive < asked || send < asked) publish('socketbuffer', { server, asked, receive, send })
}
