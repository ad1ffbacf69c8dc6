/**
 * A process that is stopped for seconds in the middle of a transfer, as by a machine that sleeps, and goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { generatePrivateKey } from 'snaptun'
import { expect, it } from 'vitest'
import { type ClientEvent, PeerProcess } from './peer-process.js'
import { LIVENESS, MARGIN, PROBE, TICK } from './recovery-times.js'

/** How long it is stopped: less than the 15 s after which WireGuard itself tries a new handshake. */
const PAUSE = 5000
/** Before and after, in seconds of transfer. */
const BESIDE = 0.5
/** Packets a second: what gathers in the stopped process's socket fits into the smallest buffer that systems give. */
const RATE = 40

/** A transfer to and fro, in whose middle one side is stopped. */
async function paused(side: 'client' | 'server', options: object) {
  const [server, client] = [await PeerProcess.start(), await PeerProcess.start()]
  const listening = await server.call('listen', { privateKey: generatePrivateKey(), address: '127.0.0.1' })
  const access = { server: listening.address, serverPublicKey: listening.publicKey }
  const { tunnel } = await client.call('connect', { ...access, ...options })
  const seconds = PAUSE / 1000 + 2 * BESIDE
  const transfer = client.call('paced', { tunnel, rate: RATE, seconds })
  await sleep(BESIDE * 1000)
  const stopped = side === 'client' ? client : server
  stopped.pause()
  await sleep(PAUSE)
  stopped.resume()
  const resumed = Date.now()
  const transferred = await transfer
  // Or the pause was none.
  expect(transferred.silence.lasted).toBeGreaterThan(PAUSE - 500)
  return {
    transferred,
    /** Milliseconds from the end of the pause until a packet came back. */
    mended: transferred.silence.end - resumed,
    after: await client.call('paced', { tunnel, rate: 500, seconds: 0.2 }),
    stats: await client.call('clientStats', { tunnel }),
    events: await client.call('clientEvents', { tunnel }),
    server: (await server.call('look')).stats,
  }
}

const names = (events: readonly ClientEvent[]): string[] => events.map(({ name }) => name)

it.each(['client', 'server'] as const)(
  'a %s that is stopped for 5 s goes on at once: nothing is lost or doubled, and nobody is told',
  async (side) => {
    const { transferred, mended, after, stats, events, server } = await paused(side, {})
    expect(transferred).toMatchObject({ lost: 0, doubled: 0 })
    expect(mended).toBeLessThan(TICK + MARGIN)
    expect(after).toMatchObject({ lost: 0, doubled: 0 })
    expect(events).toEqual([])
    expect(stats).toMatchObject({ handshakes: 1, droppedInvalid: 0, droppedReplayed: 0 })
    expect(server).toMatchObject({ tunnels: 1, handshakes: 1, droppedReplayed: 0 })
  },
  30_000,
)

it('with livenessTimeout, a client that was stopped asks for a sign of life, and gets it', async () => {
  const { transferred, mended, after, events } = await paused('client', { livenessTimeout: LIVENESS })
  expect(transferred.doubled).toBe(0)
  expect(mended).toBeLessThan(PROBE + TICK + MARGIN)
  expect(after).toMatchObject({ lost: 0, doubled: 0 })
  expect(events).toEqual([])
}, 30_000)

it('with livenessTimeout, a server that was stopped is missed, and found when it goes on', async () => {
  const reconnect = { initialDelay: 200, maxDelay: 500, jitter: 50 }
  const { transferred, mended, after, events, server } = await paused('server', {
    livenessTimeout: LIVENESS,
    reconnect,
  })
  expect(names(events).slice(0, 3)).toEqual(['reconnecting', 'reconnecting', 'reconnecting'])
  expect(events[0]?.args).toEqual([1, expect.any(Number), 'silent'])
  expect(names(events).at(-1)).toBe('reconnected')
  expect(names(events).filter((name) => name === 'reconnected')).toHaveLength(1)
  // What was sent in its absence waits, in its socket or for the new session, and comes back once.
  expect(transferred).toMatchObject({ lost: 0, doubled: 0 })
  expect(mended).toBeLessThan(reconnect.maxDelay + reconnect.jitter + TICK + MARGIN)
  expect(after).toMatchObject({ lost: 0, doubled: 0 })
  expect(server.tunnels).toBe(1)
}, 30_000)
