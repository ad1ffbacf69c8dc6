/**
 * The one class of errors that this package throws, and its codes.
 *
 * An error never contains key bytes, nor the content of packets.
 */

/** The codes of {@link SnapTunError}. */
export type SnapTunErrorCode =
  /** An option or argument has the wrong type or lies outside its range; the message names it. */
  | 'ERR_SNAPTUN_INVALID_OPTION'
  /** A key is not 32 bytes, not base64, all zero, or a KeyObject of another kind; the message names the option. */
  | 'ERR_SNAPTUN_INVALID_KEY'
  /** An address can't be understood, or has a port that it must not have; the message names the option. */
  | 'ERR_SNAPTUN_INVALID_ADDRESS'
  /** A host name has no address, or the name service didn't answer; `cause` is Node's error. */
  | 'ERR_SNAPTUN_LOOKUP'
  /** What was to be sent is not a `Uint8Array`, or not a batch that can be sent there. */
  | 'ERR_SNAPTUN_INVALID_PACKET'
  /** A packet of no bytes: on the wire that is a keepalive, so it can't be sent. */
  | 'ERR_SNAPTUN_PACKET_EMPTY'
  /** A packet is larger than `maxPacketSize`. */
  | 'ERR_SNAPTUN_PACKET_TOO_LARGE'
  /** The tunnel or server was closed, before the call or while it waited. */
  | 'ERR_SNAPTUN_CLOSED'
  /** No handshake within `connectTimeout`: nobody answered, or the server refuses this identity. */
  | 'ERR_SNAPTUN_CONNECT_TIMEOUT'
  /** The session ended, the server did not answer, and the tunnel was told not to reconnect. */
  | 'ERR_SNAPTUN_SESSION_EXPIRED'
  /** The server was lost, and could not be reached again within `reconnect.maxElapsed`. */
  | 'ERR_SNAPTUN_RECONNECT_TIMEOUT'
  /** The first handshake is not done yet, and what was asked for comes with it. */
  | 'ERR_SNAPTUN_NOT_READY'
  /** The server sees this client at another address than before, and the tunnel closed for it. */
  | 'ERR_SNAPTUN_ADDRESS_CHANGED'
  /** Another socket has the local address and port. */
  | 'ERR_SNAPTUN_ADDRESS_IN_USE'
  /** The local address belongs to no interface of this machine. */
  | 'ERR_SNAPTUN_ADDRESS_UNAVAILABLE'
  /** The operating system refuses the socket or port to this user. */
  | 'ERR_SNAPTUN_PERMISSION'
  /** Another error of the operating system; the message has its words. */
  | 'ERR_SNAPTUN_IO'
  /** Two readers at once, where there can be only one. */
  | 'ERR_SNAPTUN_BUSY'
  /** More sends wait for room than are allowed to: the caller doesn't await what it sends. */
  | 'ERR_SNAPTUN_TOO_MANY_SENDS'
  /** A batch was used after the next turn of its iterator, when its memory held other packets already. */
  | 'ERR_SNAPTUN_BATCH_RELEASED'
  /** The tunnel does not belong to this server. */
  | 'ERR_SNAPTUN_UNKNOWN_TUNNEL'
  /** The socket is connected, so that there can be no other target. */
  | 'ERR_SNAPTUN_CONNECTED'
  /** The socket is not connected, so that there must be a target. */
  | 'ERR_SNAPTUN_NOT_CONNECTED'
  /** Nobody listens at the remote address: its host said so. */
  | 'ERR_SNAPTUN_REFUSED'
  /** There is no way to the address: no route, or the interface is down. */
  | 'ERR_SNAPTUN_UNREACHABLE'
  /** `authorize` did not settle within `authorizationTimeout`. */
  | 'ERR_SNAPTUN_AUTHORIZATION_TIMEOUT'
  /** The token source failed, `cause` is its error; it is asked again. */
  | 'ERR_SNAPTUN_TOKEN_UNAVAILABLE'
  /** There is no token: its source ended or failed for good, `cause` is its error, or it gave what can't be one. */
  | 'ERR_SNAPTUN_TOKEN_INVALID'
  /** The control plane refuses the token: expired, or not genuine, or not for this. */
  | 'ERR_SNAPTUN_TOKEN_REFUSED'
  /** The control plane can't be reached, is overloaded, fails, or doesn't answer in time; `cause` is Node's error, if any. */
  | 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'
  /** The control plane refuses, for another reason than the token; the message has its words. */
  | 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'
  /** What answers is no control plane, or its answer can't be used; the message says what is wrong with it. */
  | 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER'
  /** The native part is missing or can't be loaded; the message says which package and what to type. */
  | 'ERR_SNAPTUN_ADDON'
  /** A bug of this package. */
  | 'ERR_SNAPTUN_INTERNAL'

/** Which codes are transient: the same call may succeed later, without a change of its arguments. */
const TRANSIENT: Readonly<Record<SnapTunErrorCode, boolean>> = {
  ERR_SNAPTUN_INVALID_OPTION: false,
  ERR_SNAPTUN_INVALID_KEY: false,
  ERR_SNAPTUN_INVALID_ADDRESS: false,
  ERR_SNAPTUN_LOOKUP: true,
  ERR_SNAPTUN_INVALID_PACKET: false,
  ERR_SNAPTUN_PACKET_EMPTY: false,
  ERR_SNAPTUN_PACKET_TOO_LARGE: false,
  ERR_SNAPTUN_CLOSED: false,
  ERR_SNAPTUN_CONNECT_TIMEOUT: true,
  ERR_SNAPTUN_SESSION_EXPIRED: true,
  ERR_SNAPTUN_RECONNECT_TIMEOUT: true,
  ERR_SNAPTUN_NOT_READY: true,
  ERR_SNAPTUN_ADDRESS_CHANGED: false,
  ERR_SNAPTUN_ADDRESS_IN_USE: false,
  ERR_SNAPTUN_ADDRESS_UNAVAILABLE: false,
  ERR_SNAPTUN_PERMISSION: false,
  ERR_SNAPTUN_IO: true,
  ERR_SNAPTUN_BUSY: false,
  ERR_SNAPTUN_TOO_MANY_SENDS: true,
  ERR_SNAPTUN_BATCH_RELEASED: false,
  ERR_SNAPTUN_UNKNOWN_TUNNEL: false,
  ERR_SNAPTUN_CONNECTED: false,
  ERR_SNAPTUN_NOT_CONNECTED: false,
  ERR_SNAPTUN_REFUSED: true,
  ERR_SNAPTUN_UNREACHABLE: true,
  ERR_SNAPTUN_AUTHORIZATION_TIMEOUT: true,
  ERR_SNAPTUN_TOKEN_UNAVAILABLE: true,
  ERR_SNAPTUN_TOKEN_INVALID: false,
  ERR_SNAPTUN_TOKEN_REFUSED: false,
  ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE: true,
  ERR_SNAPTUN_CONTROL_PLANE_REFUSED: false,
  ERR_SNAPTUN_CONTROL_PLANE_ANSWER: false,
  ERR_SNAPTUN_ADDON: false,
  ERR_SNAPTUN_INTERNAL: false,
}

/** Every error of this package. What an aborted call rejects with is the reason of its signal instead. */
export class SnapTunError extends Error {
  override readonly name = 'SnapTunError'
  /** What went wrong, for programs. */
  readonly code: SnapTunErrorCode
  /** Whether the same call may succeed later, without a change of its arguments. */
  readonly transient: boolean

  /**
   * @param code what went wrong, for programs
   * @param message what went wrong, for people
   * @param cause the error behind this one, if any
   */
  constructor(code: SnapTunErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.transient = TRANSIENT[code]
  }
}

function isCode(code: unknown): code is SnapTunErrorCode {
  return typeof code === 'string' && Object.hasOwn(TRANSIENT, code)
}

/** Makes a coded error of what native threw. Anything that has no code of ours is a bug and stays as it is. */
export function fromNative(error: unknown): unknown {
  if (error instanceof SnapTunError) return error
  if (error instanceof Error && isCode((error as NodeJS.ErrnoException).code)) {
    return new SnapTunError((error as NodeJS.ErrnoException).code as SnapTunErrorCode, error.message, error)
  }
  return error
}

/** The error of an event: native reports it as a code and a message. */
export function fromEvent(code: string, message: string): SnapTunError {
  // A code that is missing in the table above still has to reach the user.
  return isCode(code)
    ? new SnapTunError(code, message)
    : new SnapTunError('ERR_SNAPTUN_INTERNAL', `${message} (${code})`)
}

/** The same error for a later call: what is closed stays closed, but the stack is that of the call at hand. */
export function again(error: SnapTunError): SnapTunError {
  return new SnapTunError(error.code, error.message, error.cause ?? error)
}

/** The error of those who read while somebody else does. */
export function busy(): SnapTunError {
  return new SnapTunError(
    'ERR_SNAPTUN_BUSY',
    'somebody else reads: there is one reader of batches at a time, and nobody receives beside it',
  )
}

/**
 * Throws `error` where nobody can catch it: the process sees an `uncaughtException`. For errors of the user's
 * listeners, which must stop neither the other listeners' events nor the delivery of packets.
 */
export function throwLater(error: unknown): void {
  process.nextTick(() => {
    throw error
  })
}
