/**
 * Ten thousand tunnels, one after the other, leave nothing behind.
 */
import { generatePrivateKey } from 'snaptun'
import { expect, it } from 'vitest'
import { type Life, PeerProcess, type Resources } from './peer-process.js'

/** Lives of tunnels in all, and between two looks at what the process holds. */
const LIVES = 10_000
const CHUNK = 1000
/** Tunnels at the same time. */
const AT_ONCE = 8
/** Lives that come before those that count: caches fill, code is compiled, the heaps get their sizes. */
const WARM_UP = 3000
/** Bytes of JavaScript's heap for each life that counts: an object with two fields is larger. */
const HEAP = 40
/** Bytes of memory in all: the allocator's heap moves by a third of it. Native keeps 20 KB for a tunnel, and its queues. */
const RSS = 16 << 20
/** The smallest queues, so that what comes and goes does not hide what stays. */
const QUEUES = { receiveQueue: { packets: 16, bytes: 65_536 }, sendQueue: { packets: 16, bytes: 65_536 } }

const lives: readonly (readonly [name: string, life: Life])[] = [
  ['are closed', 'closed'],
  ['are aborted while they connect', 'aborted'],
  ['are closed by their Duplex', 'destroyed'],
  ['are closed after iterations that were left by break', 'abandoned'],
]

it.skipIf(process.platform !== 'linux').each(lives)(
  'ten thousand tunnels that %s leave memory, handles and descriptors where they were (counts by Linux’s /proc/self)',
  async (_name, kind) => {
    const server = await PeerProcess.start()
    const client = await PeerProcess.start([], ['--expose-gc'])
    const { address, publicKey } = await server.call('listen', {
      privateKey: generatePrivateKey(),
      address: '127.0.0.1',
      maxTunnelsPerIdentity: 2 * CHUNK,
    })
    const access = { ...QUEUES, server: address, serverPublicKey: publicKey }
    const lead = async (count: number): Promise<Resources> => {
      for (let done = 0; done < count; done += CHUNK) {
        await client.call('cycles', { kind, count: CHUNK, atOnce: AT_ONCE, access })
        // The protocol has no farewell: the server would keep them for minutes.
        await server.call('closeTunnels')
      }
      return client.call('resources')
    }
    const before = await lead(WARM_UP)
    const after = await lead(LIVES - WARM_UP)
    expect(after).toMatchObject({
      threads: before.threads,
      descriptors: before.descriptors,
      handles: before.handles,
    })
    expect(after.memory.heapUsed - before.memory.heapUsed).toBeLessThan(HEAP * (LIVES - WARM_UP))
    expect(after.memory.arrayBuffers).toBeLessThanOrEqual(before.memory.arrayBuffers + QUEUES.receiveQueue.bytes)
    expect(after.memory.rss - before.memory.rss).toBeLessThan(RSS)
  },
  120_000,
)
