/**
 * The operating system's errors: a coded error of this package, with the error that `dgram` would give as its cause.
 */
import { getSystemErrorName } from 'node:util'
import { SnapTunError, type SnapTunErrorCode } from './errors.js'

/** An error as Node itself makes them: the `cause` of a {@link SnapTunError} that the operating system gave. */
export interface SystemError extends Error {
  /** `'EADDRINUSE'` and the like. */
  readonly code: string
  /** The same as a number below 0. */
  readonly errno: number
  /** `'bind'`, `'send'`, `'recvmsg'`, `'connect'`, `'setsockopt'` and the like. */
  readonly syscall: string
  /** The IP address that it was about, if it was about one. */
  readonly address?: string
  /** The port that it was about. */
  readonly port?: number
}

/** Codes of their own. What is not here is `ERR_SNAPTUN_IO`. */
const CODES: Readonly<Record<string, SnapTunErrorCode>> = {
  EADDRINUSE: 'ERR_SNAPTUN_ADDRESS_IN_USE',
  EADDRNOTAVAIL: 'ERR_SNAPTUN_ADDRESS_UNAVAILABLE',
  EACCES: 'ERR_SNAPTUN_PERMISSION',
  EPERM: 'ERR_SNAPTUN_PERMISSION',
  EMSGSIZE: 'ERR_SNAPTUN_PACKET_TOO_LARGE',
  ECONNREFUSED: 'ERR_SNAPTUN_REFUSED',
  ENETUNREACH: 'ERR_SNAPTUN_UNREACHABLE',
  EHOSTUNREACH: 'ERR_SNAPTUN_UNREACHABLE',
  ENETDOWN: 'ERR_SNAPTUN_UNREACHABLE',
  EBADF: 'ERR_SNAPTUN_CLOSED',
}

/** Makes the error of a number that the system gave, see `native-udp.ts`. */
export function systemError(
  errno: number,
  syscall: string,
  about?: { readonly address: string; readonly port?: number },
): SnapTunError {
  const code = getSystemErrorName(errno)
  const where = about === undefined ? '' : ` ${about.address}${about.port === undefined ? '' : `:${about.port}`}`
  const message = `${syscall} ${code}${where}`
  const cause: SystemError = Object.assign(new Error(message), {
    code,
    errno,
    syscall,
    ...(about === undefined ? {} : { address: about.address }),
    ...(about?.port === undefined ? {} : { port: about.port }),
  })
  return new SnapTunError(CODES[code] ?? 'ERR_SNAPTUN_IO', message, cause)
}
