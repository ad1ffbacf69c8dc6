/**
 * What happens, on `node:diagnostics_channel`: for tracing and metrics, without touching the code that uses snaptun.
 * Costs nothing where nobody subscribes.
 */
import diagnosticsChannel from 'node:diagnostics_channel'
import type { SocketAddress } from './address.js'
import type { ServerTunnel } from './server-tunnel.js'
import type { SnapTunServer, TunnelCloseReason } from './snap-tun-server.js'

/** The messages, by channel; each channel's name begins with `snaptun:`. */
export interface DiagnosticsMessages {
  /** `snaptun:tunnel`: a client is connected to a server. */
  tunnel: { readonly server: SnapTunServer; readonly tunnel: ServerTunnel }
  /** `snaptun:tunnelclose`: a tunnel of a server has closed. */
  tunnelclose: { readonly server: SnapTunServer; readonly tunnel: ServerTunnel; readonly reason: TunnelCloseReason }
  /** `snaptun:unauthorized`: a client proved its identity, and may not pass. */
  unauthorized: { readonly server: SnapTunServer; readonly identity: string; readonly remote: SocketAddress }
  /**
   * `snaptun:socketbuffer`: the kernel gave the sockets of a server that begins to listen smaller buffers than
   * `socketBufferSize` asked for; once a server, in bytes a socket. On Linux `net.core.rmem_max` and `wmem_max` decide.
   */
  socketbuffer: {
    readonly server: SnapTunServer
    readonly asked: number
    readonly receive: number
    readonly send: number
  }
}

const channels = {
  tunnel: diagnosticsChannel.channel('snaptun:tunnel'),
  tunnelclose: diagnosticsChannel.channel('snaptun:tunnelclose'),
  unauthorized: diagnosticsChannel.channel('snaptun:unauthorized'),
  socketbuffer: diagnosticsChannel.channel('snaptun:socketbuffer'),
}

/** The shape of a message where the session's type does not matter. */
type Published<Name extends keyof DiagnosticsMessages> = {
  readonly [Key in keyof DiagnosticsMessages[Name]]: Key extends 'server' | 'tunnel'
    ? object
    : DiagnosticsMessages[Name][Key]
}

/** Tells whoever subscribed to a channel. */
export function publish<Name extends keyof DiagnosticsMessages>(name: Name, message: Published<Name>): void {
  const channel = channels[name]
  if (channel.hasSubscribers) channel.publish(message)
}
