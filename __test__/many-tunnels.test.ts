/**
 * A thousand tunnels in one process.
 */
import { generatePrivateKey } from 'snaptun'
import { expect, it } from 'vitest'
import { PeerProcess } from './peer-process.js'

const TUNNELS = 1000
/** Connecting at once: enough to keep the server busy, and so few that it asks nobody for a cookie. */
const AT_ONCE = 32
/** WireGuard's: the time until an attempt is made again, with the cookie that the first one was answered with. */
const SECOND_ATTEMPT = 5333
/** Handshakes a second, both sides on this machine, that any machine does: a handshake costs each side 0.2 to 0.4 ms. */
const LEAST_RATE = 100
/** Queues that a thousand tunnels have the memory for, and that hold what the test sends. */
const SMALL = { receiveQueue: { packets: 16, bytes: 65_536 }, sendQueue: { packets: 16, bytes: 65_536 } }

/** A server, a process for clients, and how these connect. */
async function scene() {
  const [server, client] = [await PeerProcess.start(), await PeerProcess.start()]
  const { address, publicKey } = await server.call('listen', {
    privateKey: generatePrivateKey(),
    address: '127.0.0.1',
    maxTunnels: 2 * TUNNELS,
  })
  return { server, client, options: { ...SMALL, server: address, serverPublicKey: publicKey, connectTimeout: 30_000 } }
}

it.skipIf(process.platform !== 'linux')(
  'a thousand tunnels need no more threads than one, and each gets its own packets (counts by Linux’s /proc/self)',
  async ({ annotate }) => {
    const { server, client, options } = await scene()
    // The first tunnel starts what all share: the native part with its threads, and what Node starts when it is used.
    await client.call('connect', options)
    expect(await client.call('echoEach')).toBe(1)
    const one = await client.call('resources')

    const start = performance.now()
    const connected = await client.call('connectMany', { count: TUNNELS - 1, atOnce: AT_ONCE, options })
    const rate = connected.length / ((performance.now() - start) / 1000)
    await annotate(`${Math.round(rate)} handshakes/s`)
    expect(rate).toBeGreaterThan(LEAST_RATE)
    expect(new Set(connected.map(({ localAddress }) => localAddress.port)).size).toBe(TUNNELS - 1)
    const all = await client.call('resources')
    expect(all.threads).toBe(one.threads)
    // A tunnel is a socket and nothing else.
    expect(all.descriptors).toBe(one.descriptors + TUNNELS - 1)

    expect(await client.call('echoEach')).toBe(TUNNELS)
    const { stats } = await server.call('look')
    expect(stats).toMatchObject({ tunnels: TUNNELS, packetsReceived: TUNNELS + 1, droppedReceiveQueueFull: 0 })
    expect((await client.call('resources')).threads).toBe(one.threads)

    await client.call('closeClients')
    const none = await client.call('resources')
    expect(none.threads).toBe(one.threads)
    expect(none.descriptors).toBe(one.descriptors - 1)
  },
  60_000,
)

it('a thousand tunnels that all connect at once do, at the second attempt at the latest', async ({ annotate }) => {
  const { client, server, options } = await scene()
  const connected = await client.call('connectMany', { count: TUNNELS, options })
  const slowest = Math.max(...connected.map(({ took }) => took))
  const { stats } = await server.call('look')
  await annotate(`${Math.round(slowest)} ms, ${stats.handshakeCookies} cookies`)
  // Nobody is asked for a cookie twice.
  expect(slowest).toBeLessThan(2 * SECOND_ATTEMPT)
  expect(stats).toMatchObject({ tunnels: TUNNELS, handshakesInvalid: 0, handshakesRateLimited: 0 })
  expect(await client.call('echoEach')).toBe(TUNNELS)
}, 60_000)
