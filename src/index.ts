/**
 * snaptun: encrypted, authenticated UDP tunnels inside a Node process.
 *
 * What is exported here is the package's whole interface.
 */
export type { AddressInput, SocketAddress } from './address.js'
export type { Authorization, AuthorizationRequest, AuthorizationTerms, Authorize } from './authorizer.js'
export { ConnectControlPlane, type ConnectControlPlaneOptions } from './connect-control-plane.js'
export type { ConnectOptions } from './connect-options.js'
export type { RetryOptions } from './control-plane/retry.js'
export type { TokenSource } from './control-plane/token-source.js'
export type { Registration } from './control-plane/used-control-plane.js'
export type {
  ControlPlane,
  ControlPlaneRequest,
  DataPlaneInfo,
  RegistrationRequest,
  RegistrationResult,
} from './control-plane.js'
export type { Datagram, DatagramBatch } from './datagram-batch.js'
export type { DatagramTarget } from './datagram-record.js'
export type { AddressedDatagram, DatagramSendOptions } from './datagram-send.js'
export type { DiagnosticsMessages } from './diagnostics.js'
export type { EndpointConnectOptions, EndpointOptions } from './endpoint-options.js'
export { SnapTunError, type SnapTunErrorCode } from './errors.js'
export { generatePrivateKey, type KeyInput, publicKey } from './keys.js'
export type { ListenOptions, ServerCoreOptions } from './listen-options.js'
export type { QueueOptions, WaitOptions } from './options.js'
export type { PacketBatch } from './packet-batch.js'
export type { ReconnectCause, ReconnectOptions } from './reconnect-options.js'
export type { PacketSegments, SendBatchInput } from './send-job.js'
export type { BatchOutcome, SendOutcome } from './send-outcome.js'
export type { ServerPacket, ServerPacketBatch } from './server-batch.js'
export { ServerTunnel } from './server-tunnel.js'
export { type EndpointStats, SnapTunEndpoint, type SnapTunEndpointEvents } from './snap-tun-endpoint.js'
export { SnapTunServer, type SnapTunServerEvents, type TunnelCloseReason } from './snap-tun-server.js'
export {
  type CoreDatagram,
  type CoreEvent,
  type CoreOutput,
  type CorePacket,
  SnapTunServerCore,
} from './snap-tun-server-core.js'
export { SnapTunnel, type SnapTunnelEvents } from './snap-tunnel.js'
export type { ServerStats, ServerTunnelStats, TrafficStats, TunnelStats } from './stats.js'
export type { SystemError } from './system-error.js'
export type { DuplexOptions } from './tunnel-duplex.js'
export { UdpBatchSocket, type UdpBatchSocketEvents } from './udp-batch-socket.js'
export type { UdpBindOptions } from './udp-options.js'
export type { UdpStats } from './udp-stats.js'
