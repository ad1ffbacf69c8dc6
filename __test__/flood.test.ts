import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { generatePrivateKey, type ServerStats } from 'snaptun'
import { expect, it } from 'vitest'
import { type FloodKind, type FloodOptions, flood, hex } from './flood-tool.js'
import { keyPair } from './helpers.js'
import { PeerProcess, type ServerLook } from './peer-process.js'

/** Datagrams a second: what two cores send and take beside the other tests. bench/flood.mjs sends more. */
const RATE = 10_000
const SECONDS = 1
/** Packets a second that are echoed meanwhile. */
const PACED = 1000

/** Seconds of flood that come first, to fill what is allocated once: buffers, tables, the heap. */
const WARM_UP = 0.3
/**
 * Bytes that the process may grow by during the flood that is measured: about twice what Node's own heap moves by. A
 * server that kept the receive buffer of 64 KiB for but one datagram in fifty would need 12 MiB.
 */
const FLAT = 8 << 20

/** Initiations that wait their turn, or for an answer, at most: `QUEUE_LENGTH` of the core, and the option's default. */
const MAX_PENDING = { handshakesPending: 1024, authorizationsPending: 1024 } as const

/** Milliseconds after which a server forgets that it was under load: a second, and a tick. */
const LOAD_MEMORY = 1250

/** One of the counters. */
type Counter = keyof ServerStats

/** What can be flooded with, and the counters where each datagram of it has to show, exactly once. */
const floods: readonly (readonly [name: string, kind: FloodKind, counters: readonly Counter[]])[] = [
  ['initiations with a bad MAC', 'bad-mac', ['handshakesInvalid']],
  [
    'valid initiations of identities that nobody knows',
    'initiations',
    ['handshakeCookies', 'handshakesRefused', 'handshakesRateLimited', 'handshakesReplayed'],
  ],
  [
    'one valid initiation of an authorized identity, replayed',
    'replay',
    ['handshakes', 'handshakeCookies', 'handshakesReplayed', 'handshakesRateLimited'],
  ],
  ['cookies that nobody asked for', 'cookies', ['droppedUnknown']],
  ['truncated and oversized datagrams', 'lengths', ['droppedMalformed']],
  ['data of sessions that do not exist', 'data', ['droppedUnknown']],
]

/** Datagrams that the kernel dropped because nobody read the socket of a port in time. */
function droppedByKernel(port: number): number {
  // Fields of a line: number, local address, …, and drops as the last one. See proc_net_udp(5).
  const lines = readFileSync('/proc/net/udp', 'utf8').split('\n').slice(1)
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0')
  const line = lines.find((one) => one.trim().split(/\s+/)[1]?.endsWith(`:${hexPort}`))
  return Number(line?.trim().split(/\s+/).at(-1) ?? 0)
}

/** How much the counters grew from one look to the next. */
function growth(from: ServerStats, to: ServerStats, counters: readonly Counter[]): number {
  return counters.reduce((sum, counter) => sum + to[counter] - from[counter], 0)
}

it.skipIf(process.platform !== 'linux').each(floods)(
  'a tunnel goes on, nothing grows and all is counted under a flood of %s (counts by Linux’s /proc/net/udp)',
  async (_name, kind, counters) => {
    const [client, attacker] = [keyPair(), keyPair()]
    const server = await PeerProcess.start()
    const { address, publicKey } = await server.call('listen', {
      privateKey: generatePrivateKey(),
      address: '127.0.0.1',
      authorized: [client.identity, attacker.identity],
    })
    const clients = await PeerProcess.start()
    const access = { server: address, serverPublicKey: publicKey }
    const { tunnel } = await clients.call('connect', { ...access, privateKey: client.privateKey })

    const options: FloodOptions = {
      to: `${address.address}:${address.port}`,
      rate: RATE,
      'server-public-key': hex(publicKey),
      ...(kind === 'replay' ? { 'private-key': hex(attacker.privateKey) } : {}),
    }
    await flood(kind, { ...options, seconds: WARM_UP })
    const paced = { tunnel, rate: PACED, seconds: SECONDS }
    expect((await clients.call('paced', { ...paced, seconds: WARM_UP })).lost).toBe(0)

    const dropped = droppedByKernel(address.port)
    const before = await server.call('look')
    const looks: ServerLook[] = []
    let flooding = true
    const watching = (async () => {
      for (; flooding; await sleep(50)) looks.push(await server.call('look'))
    })()
    const [report, echoed] = await Promise.all([
      flood(kind, { ...options, seconds: SECONDS }).finally(() => {
        flooding = false
      }),
      clients.call('paced', paced),
    ])
    await watching
    expect(report.failed).toBe(0)
    expect(report.sent).toBeGreaterThan(0)
    expect(echoed.lost / echoed.sent).toBeLessThan(0.01)

    // Each datagram was either dropped by the kernel, since they came too fast, or shows in one counter.
    const reached = report.sent - (droppedByKernel(address.port) - dropped)
    let after = await server.call('look')
    for (let i = 0; i < 40 && growth(before.stats, after.stats, counters) < reached; i++) {
      await sleep(50)
      after = await server.call('look')
    }
    expect(growth(before.stats, after.stats, counters)).toBe(reached)

    for (const { stats, tunnels } of [...looks, after]) {
      // Beside the client's there may be the one that the replayed initiation made when it was new.
      expect(stats.tunnels).toBeLessThanOrEqual(kind === 'replay' ? 3 : 1)
      expect(tunnels).toHaveLength(1)
      expect(stats.handshakesPending).toBeLessThanOrEqual(MAX_PENDING.handshakesPending)
      expect(stats.authorizationsPending).toBeLessThanOrEqual(MAX_PENDING.authorizationsPending)
    }
    expect(after.stats.authorizationsPending).toBe(0)
    expect(after.events.map(({ type }) => type)).toEqual(['tunnel'])
    expect(Math.max(after.rss, ...looks.map(({ rss }) => rss)) - before.rss).toBeLessThan(FLAT)

    if (after.stats.handshakeCookies > 0) await sleep(LOAD_MEMORY)
    const { took } = await clients.call('connect', { ...access, privateKey: client.privateKey })
    // A client that is answered with a cookie tries again after 5 s (WireGuard's REKEY_TIMEOUT).
    expect(took).toBeLessThan(4000)
    const end = await server.call('look')
    expect(end.stats.handshakeCookies).toBe(after.stats.handshakeCookies)
    expect((await clients.call('paced', { ...paced, seconds: WARM_UP })).lost).toBe(0)
  },
)
