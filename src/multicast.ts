/**
 * Network interfaces as `dgram` names them for multicast: by an IPv4 address of theirs, or, for IPv6, as the zone of an
 * address (`'::%eth0'`, `'::%2'`).
 */
import { isIPv4, isIPv6 } from 'node:net'
import { type FindInterface, zoneIndex } from './datagram-record.js'
import { SnapTunError } from './errors.js'

/** An interface, as native takes it. */
export interface MulticastInterface {
  /** An IPv4 address of it. */
  readonly address: string | undefined
  /** Its number, for IPv6; 0 leaves the choice to the system. */
  readonly index: number
}

/** Understands the name of an interface. Throws `ERR_SNAPTUN_INVALID_ADDRESS`. */
export function parseInterface(text: unknown, find: FindInterface): MulticastInterface {
  if (typeof text === 'string') {
    if (isIPv4(text)) return { address: text, index: 0 }
    const zone = /^[0-9a-f:.]+%(.+)$/i.exec(text)?.[1]
    if (zone !== undefined && isIPv6(text)) return { address: undefined, index: zoneIndex(zone, find) }
  }
  throw new SnapTunError(
    'ERR_SNAPTUN_INVALID_ADDRESS',
    "an interface is named by an IPv4 address that it has, or, for IPv6, like '::%eth0'",
  )
}

/** A group, and the interface for it. Throws `ERR_SNAPTUN_INVALID_ADDRESS`. */
export function parseMembership(
  group: unknown,
  on: unknown,
  find: FindInterface,
): MulticastInterface & { readonly group: string } {
  if (typeof group !== 'string' || !(isIPv4(group) || isIPv6(group)) || group.includes('%')) {
    throw new SnapTunError('ERR_SNAPTUN_INVALID_ADDRESS', 'a group must be an IP address')
  }
  const chosen = on === undefined ? { address: undefined, index: 0 } : parseInterface(on, find)
  if (on !== undefined && isIPv4(group) !== (chosen.address !== undefined)) {
    throw new SnapTunError('ERR_SNAPTUN_INVALID_ADDRESS', 'the group and the interface are of different families')
  }
  return { group, ...chosen }
}
