/**
 * Addresses: what a user may give as one, and what the package gives back.
 */
import { lookup } from 'node:dns/promises'
import { isIP, isIPv4 } from 'node:net'
import { unlessAborted } from './abort.js'
import { SnapTunError } from './errors.js'
import type { NativeAddress } from './native.js'

/** An IP address and a UDP port, as `dgram` has them. */
export interface SocketAddress {
  /** IP address, without brackets. */
  readonly address: string
  /** UDP port. */
  readonly port: number
  /** Which IP the address belongs to. */
  readonly family: 'IPv4' | 'IPv6'
}

/**
 * An address as options take it: `'192.0.2.1:51820'`, `'[2001:db8::1]:51820'`, `'host.example:51820'`, or an object.
 * Host names are looked up once, with Node's `dns.lookup`.
 */
export type AddressInput = string | { readonly address: string; readonly port: number }

/** A host (IP literal or name) and a port, checked for form. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

function invalid(option: string, message: string): SnapTunError {
  return new SnapTunError('ERR_SNAPTUN_INVALID_ADDRESS', `option '${option}' ${message}`)
}

/** Labels of letters, digits, hyphens and underscores; at most 253 characters (RFC 1123, section 2.1). */
function isHostName(host: string): boolean {
  return (
    host.length <= 253 && /^[\p{L}\p{N}_-]{1,63}(\.[\p{L}\p{N}_-]{1,63})*\.?$/u.test(host) && !/^[\d.]+$/.test(host)
  )
}

/** Checks a host: an IP literal without a zone, or a name. A mapped IPv4 address becomes IPv4, as on the wire. */
export function parseHost(option: string, host: unknown): string {
  if (typeof host !== 'string') throw invalid(option, `has a host of type ${typeof host}, where a string belongs`)
  if (host.includes('%')) throw invalid(option, 'has a zone (what follows «%»), which is not supported')
  const mapped = /^::ffff:([\d.]+)$/i.exec(host)?.[1]
  if (mapped !== undefined && isIPv4(mapped)) return mapped
  if (isIP(host) === 0 && !isHostName(host)) {
    throw invalid(option, `has the host '${host}', which is neither an IP address nor a host name`)
  }
  return host
}

/** Checks a port, from `min` (0 where the system may choose) to 65,535. */
export function parsePort(option: string, port: unknown, min: 0 | 1): number {
  if (typeof port !== 'number' || !Number.isInteger(port) || port < min || port > 65_535) {
    throw invalid(option, `has the port ${String(port)}, where a whole number from ${min} to 65535 belongs`)
  }
  return port
}

function splitText(option: string, text: string): [host: string, port: string] {
  const bracketed = /^\[([^\]]*)\]:(\d+)$/.exec(text)
  if (bracketed !== null) {
    const host = bracketed[1] as string
    if (isIP(host.replace(/%.*$/, '')) !== 6) throw invalid(option, `has '${host}' in brackets, which is not IPv6`)
    return [host, bracketed[2] as string]
  }
  const plain = /^([^:[\]]+):(\d+)$/.exec(text)
  if (plain !== null) return [plain[1] as string, plain[2] as string]
  if (isIP(text.replace(/:\d+$/, '')) === 6 || isIP(text) === 6) {
    throw invalid(option, `is '${text}': an IPv6 address is written in brackets, as in '[2001:db8::1]:51820'`)
  }
  throw invalid(option, `is '${text}', which is not 'host:port' or '[IPv6]:port'`)
}

/** Checks an address for form, without looking anything up. Throws `ERR_SNAPTUN_INVALID_ADDRESS`. */
export function parseAddress(option: string, value: AddressInput, minPort: 0 | 1): HostPort {
  if (typeof value === 'string') {
    const [host, port] = splitText(option, value)
    return { host: parseHost(option, host), port: parsePort(option, Number(port), minPort) }
  }
  if (typeof value !== 'object' || value === null) {
    throw invalid(option, "must be 'host:port', '[IPv6]:port' or { address, port }")
  }
  return { host: parseHost(option, value.address), port: parsePort(option, value.port, minPort) }
}

/** Completes an address that native reports. */
export function fromNativeAddress({ address, port }: NativeAddress): SocketAddress {
  return { address, port, family: isIPv4(address) ? 'IPv4' : 'IPv6' }
}

/**
 * Turns a host name into an IP address; an IP literal is returned as it is, without a question to anybody.
 * Throws `ERR_SNAPTUN_LOOKUP`, or the signal's reason: a lookup under way then ends unseen.
 */
export async function resolveHost(
  { host, port }: HostPort,
  family: 'IPv4' | 'IPv6' | undefined,
  signal: AbortSignal | undefined,
): Promise<SocketAddress> {
  const literal = isIP(host)
  if (literal !== 0) return { address: host, port, family: literal === 4 ? 'IPv4' : 'IPv6' }
  const wanted = family === undefined ? 0 : family === 'IPv4' ? 4 : 6
  let found: { address: string; family: number }
  try {
    found = await unlessAborted(lookup(host, { family: wanted }), signal)
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason
    throw new SnapTunError('ERR_SNAPTUN_LOOKUP', `the host '${host}' was not found: ${(error as Error).message}`, error)
  }
  return { address: found.address, port, family: found.family === 4 ? 'IPv4' : 'IPv6' }
}
