/**
 * A client and a server with a relay between them, which the tests have do to datagrams what a network can; and ways to see
 * what came of it.
 */
import type { ConnectOptions, ServerTunnel, SnapTunnel, SnapTunServer, TunnelStats } from 'snaptun'
import { expect } from 'vitest'
import { connectThrough, echo, listen, text, until, watch } from './helpers.js'
import { Relay } from './relay.js'

/** The longest that a step may take: much, so that a loaded machine passes; none of them waits for a timer. */
export const PATIENCE = 10_000
/** Datagrams under way at once: they fit into the smallest socket buffer that systems give (208 KiB on Linux). */
export const BURST = 64

/** No timer of its own sends anything, so that what the network sees is what the test sends. */
const STILL: Partial<ConnectOptions> = { keepalive: 0 }

/** See {@link scene}. */
export interface Scene {
  server: SnapTunServer
  relay: Relay
  tunnel: SnapTunnel
  /** The same tunnel at the server. */
  remote: ServerTunnel
  /** Events of the tunnel so far. */
  events: ReturnType<typeof watch>
}

/** A client whose datagrams pass a relay, and a server that echoes. */
export async function scene({
  spoil = (_: Relay): void => undefined,
  echoes = true,
  seed = 1,
  options = {} as Partial<ConnectOptions>,
} = {}): Promise<Scene> {
  const server = await listen()
  if (echoes) void echo(server as never)
  const relay = await Relay.start(server.address(), seed)
  spoil(relay)
  const tunnel = await connectThrough(relay, server, { ...STILL, ...options })
  const [remote] = server.tunnels()
  return { server, relay, tunnel, remote: remote as ServerTunnel, events: watch(tunnel) }
}

/** Sends packets, two bursts of which are on their way at most, and returns as many as come back, in that order. */
export async function exchange(tunnel: SnapTunnel, packets: readonly string[]): Promise<string[]> {
  const back: string[] = []
  for (let next = 0; next < packets.length; next += BURST) {
    for (const packet of packets.slice(next, next + BURST)) await tunnel.send(Buffer.from(packet))
    while (back.length < next) back.push(await receive(tunnel))
  }
  while (back.length < packets.length) back.push(await receive(tunnel))
  return back
}

/** The next packet, as text. */
export async function receive(tunnel: SnapTunnel): Promise<string> {
  return text(await tunnel.recv({ signal: AbortSignal.timeout(PATIENCE) }))
}

/** Packets that differ. */
export const numbered = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${name} ${i}`)

/** A packet goes to and fro, the session is still the first one, and nobody was told of anything. */
export async function expectUndisturbed({ tunnel, events, server }: Scene): Promise<void> {
  expect(await exchange(tunnel, ['still here'])).toEqual(['still here'])
  expect(tunnel.tryRecv()).toBeNull()
  expect(tunnel.stats().handshakes).toBe(1)
  expect(server.stats()).toMatchObject({ tunnels: 1, handshakes: 1 })
  expect(events).toEqual([])
}

/** Why a client drops a datagram: names of its counters. */
export type Reason = 'droppedForeign' | 'droppedMalformed' | 'droppedReplayed' | 'droppedInvalid'
/** How many it dropped. */
export type Drops = Partial<Record<Reason, number>>

/** How much the counters of drops, all of them, grew since `before`. Zeros are left out. */
export function drops(before: TunnelStats, after: TunnelStats): Drops {
  const reasons: Reason[] = ['droppedForeign', 'droppedMalformed', 'droppedReplayed', 'droppedInvalid']
  const grown = reasons.map((reason) => [reason, after[reason] - before[reason]] as const)
  return Object.fromEntries(grown.filter(([, count]) => count > 0))
}

const sum = (counts: Drops): number => Object.values(counts).reduce((total, count) => total + count, 0)

/** Counts datagrams by the reason for which each has to be dropped. */
export function tally(datagrams: readonly Buffer[], reason: (datagram: Buffer) => Reason): Drops {
  const counts: Drops = {}
  for (const datagram of datagrams) counts[reason(datagram)] = (counts[reason(datagram)] ?? 0) + 1
  return counts
}

/** Has datagrams reach the client from the server's address, and returns for which reasons they were dropped: all were. */
export async function inject({ relay, tunnel }: Scene, datagrams: readonly Buffer[]): Promise<Drops> {
  const before = tunnel.stats()
  for (let next = 0; next < datagrams.length; next += BURST) {
    const burst = datagrams.slice(next, next + BURST)
    for (const datagram of burst) relay.toClient.inject(datagram)
    const all = next + burst.length
    await until(() => sum(drops(before, tunnel.stats())) >= all, `drop ${all}`, PATIENCE)
  }
  return drops(before, tunnel.stats())
}

/** A datagram with a packet from the server, which the network kept: genuine, and not yet seen by the client. */
export async function kept({ relay, remote }: Scene, packet: string): Promise<Buffer> {
  const lane = relay.toClient
  const before = lane.seen.length
  lane.hold()
  await remote.send(Buffer.from(packet))
  await until(() => lane.seen.length > before, 'the datagram at the relay', PATIENCE)
  const [datagram] = lane.take()
  return datagram as Buffer
}
