import type { SnapTunnel } from 'snaptun'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { bytes, connect, echo, echoed, listen, rejection, text, until } from './helpers.js'

/** Every size from 1 to 300, then steps that are no multiple of 16, to 9,000; and what only loopback takes. */
const SIZES = [
  ...Array.from({ length: 300 }, (_, i) => i + 1),
  ...Array.from({ length: 141 }, (_, i) => 300 + 61 * (i + 1)),
  9000,
  65_000,
]

/** Sends packets so that never more than `window` are on their way, and expects them back in order. */
async function roundTrip(tunnel: SnapTunnel, packets: readonly Uint8Array[], window = 64): Promise<void> {
  let next = 0
  for (const [i, packet] of packets.entries()) {
    for (; next < packets.length && next < i + window; next++) await tunnel.send(packets[next] as Uint8Array)
    const back = await tunnel.recv()
    if (Buffer.compare(back, packet) !== 0)
      expect.fail(`packet ${i} (${packet.length} bytes) came back as ${back.length}`)
  }
  expect(tunnel.tryRecv()).toBeNull()
}

describe.each([
  ['IPv4', '127.0.0.1'],
  ['IPv6', '::1'],
])('over %s', (_family, address) => {
  it('packets of every size from 1 to 9,000 bytes and of 65,000 come back unchanged and in order', async () => {
    const { tunnel } = await echoed(address)
    const packets = SIZES.map((size) => bytes(size, size))
    await roundTrip(tunnel, packets, 8)
  })

  it('the largest packet passes, and one byte more is refused', async () => {
    const { tunnel } = await echoed(address)
    const largest = bytes(1, tunnel.maxPacketSize)
    await tunnel.send(largest)
    expect(Buffer.compare(await tunnel.recv(), largest)).toBe(0)
    await rejection(tunnel.send(bytes(1, tunnel.maxPacketSize + 1)), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
  })
})

describe('sending', () => {
  it('keeps the order of thousands of packets', async () => {
    const { tunnel } = await echoed()
    await roundTrip(
      tunnel,
      Array.from({ length: 20_000 }, (_, i) => Buffer.from(`packet ${i}`)),
    )
  })

  it('lets the event loop turn, however many packets are sent at once or in a row', async () => {
    const server = await listen()
    const tunnel = await connect(server)
    let turns = 0
    const count = (): void => {
      turns++
      pending = setImmediate(count)
    }
    let pending = setImmediate(count)
    try {
      await tunnel.sendBatch({ data: Buffer.alloc(20_000 * 8, 1), size: 8 })
      expect(tunnel.stats().packetsSent).toBe(20_000)
      // 1,024 packets are sealed at a time.
      expect(turns).toBeGreaterThanOrEqual(19)
      // Nor does a loop that awaits each call keep it from turning.
      turns = 0
      const packet = Buffer.alloc(8, 1)
      for (let i = 0; i < 5000; i++) await tunnel.send(packet)
      expect(turns).toBeGreaterThanOrEqual(4)
    } finally {
      clearImmediate(pending)
    }
  })

  it('tells what the system buffers for the socket', async () => {
    const tunnel = await connect(await listen(), { socketBufferSize: 65_536 })
    const { socketReceiveBufferBytes, socketSendBufferBytes } = tunnel.stats()
    expect(socketReceiveBufferBytes).toBeGreaterThanOrEqual(65_536)
    expect(socketSendBufferBytes).toBeGreaterThanOrEqual(65_536)
  })

  it('takes an array of packets of different sizes', async () => {
    const { tunnel } = await echoed()
    const packets = [1, 1400, 3, 1400, 1400, 9000, 16, 17].map((size) => bytes(size, size))
    await tunnel.sendBatch(packets)
    for (const packet of packets) expect(Buffer.compare(await tunnel.recv(), packet)).toBe(0)
    await tunnel.sendBatch([])
  })

  it('cuts segments from one buffer, the last one shorter', async () => {
    const { tunnel } = await echoed()
    const data = bytes(5, 100 * 1400 + 77)
    await tunnel.sendBatch({ data, size: 1400 })
    for (let at = 0; at < data.length; at += 1400) {
      expect(Buffer.compare(await tunnel.recv(), data.subarray(at, at + 1400))).toBe(0)
    }
    await tunnel.sendBatch({ data: Buffer.from('one'), size: 1400 })
    expect(text(await tunnel.recv())).toBe('one')
  })

  it('reads from views into larger buffers just what they show', async () => {
    const { tunnel } = await echoed()
    const large = Buffer.from('0123456789')
    await tunnel.send(large.subarray(2, 5))
    await tunnel.sendBatch([large.subarray(0, 1), new Uint8Array(large.buffer, large.byteOffset + 7, 2)])
    await tunnel.sendBatch({ data: large.subarray(3, 9), size: 4 })
    const got = []
    for (let i = 0; i < 5; i++) got.push(text(await tunnel.recv()))
    expect(got).toEqual(['234', '0', '78', '3456', '78'])
  })

  it('relays a batch from one tunnel to another without copying it', async () => {
    const server = await listen()
    void echo(server as never)
    const [from, to] = [await connect(server), await connect(server)]
    const packets = Array.from({ length: 50 }, (_, i) => bytes(i, 100 + i))
    await from.sendBatch(packets)
    let relayed = 0
    for await (const batch of from.batches()) {
      await to.sendBatch(batch)
      relayed += batch.length
      if (relayed === packets.length) break
    }
    for (const packet of packets) expect(Buffer.compare(await to.recv(), packet)).toBe(0)
  })

  it('refuses a whole batch for one bad packet, and sends nothing of it', async () => {
    const { tunnel } = await echoed()
    const good = Buffer.from('good')
    await rejection(tunnel.sendBatch([good, Buffer.alloc(0), good]), 'ERR_SNAPTUN_PACKET_EMPTY')
    await rejection(tunnel.sendBatch([good, 'bad' as never]), 'ERR_SNAPTUN_INVALID_PACKET')
    await rejection(tunnel.sendBatch([good, Buffer.alloc(70_000)]), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    await tunnel.send(Buffer.from('end'))
    expect(text(await tunnel.recv())).toBe('end')
    expect(tunnel.stats().packetsSent).toBe(1)
  })
})

describe('what sending says', () => {
  it('is that packets were sent, while there is a session', async () => {
    const { server, tunnel } = await echoed()
    expect(await tunnel.send(bytes(1, 100))).toBe('sent')
    expect(await tunnel.sendBatch([bytes(1, 1), bytes(2, 2)])).toEqual({ sent: 2, queued: 0, dropped: 0 })
    expect(await tunnel.sendBatch({ data: bytes(3, 2500), size: 1 })).toEqual({ sent: 2500, queued: 0, dropped: 0 })
    expect(await tunnel.sendBatch([])).toEqual({ sent: 0, queued: 0, dropped: 0 })
    const [there] = server.tunnels()
    expect(await there?.send(bytes(1, 100))).toBe('sent')
    await there?.writable()
  })

  it('is that they were dropped, to a client that is gone', async () => {
    const { server } = await echoed()
    const [there] = server.tunnels()
    const closed = new Promise((resolve) => server.once('tunnelclose', resolve))
    there?.close()
    await closed
    expect(await there?.send(bytes(1, 100))).toBe('dropped')
    expect(await there?.sendBatch(Array(3000).fill(bytes(1, 1)))).toEqual({ sent: 0, queued: 0, dropped: 3000 })
    expect(await there?.sendBatch({ data: bytes(1, 10), size: 4 })).toEqual({ sent: 0, queued: 0, dropped: 3 })
    await there?.writable()
    expect(server.stats().lateSends).toBe(3004)
  })
})

describe('a send queue that is full', () => {
  // The thread that seals is another one than ours then, and slower to wake than we are to fill the queue.
  beforeEach(() => void vi.stubEnv('SNAPTUN_SEND_MODE', 'shard'))
  afterEach(() => void vi.unstubAllEnvs())

  /** Sends without waiting until there is no room; true if it came to that. */
  function fill(tunnel: SnapTunnel, packet: Uint8Array): boolean {
    const end = performance.now() + 5000
    while (performance.now() < end) if (!tunnel.trySend(packet)) return true
    return false
  }

  it('keeps the order of calls that are not awaited, whatever their form', async () => {
    const { tunnel } = await echoed('127.0.0.1', { sendQueue: { packets: 4 } })
    const expected: string[] = []
    const sent: Promise<unknown>[] = []
    const label = (i: number): string => `${i}`.padStart(4, '0')
    for (let i = 0; i < 200; i += 5) {
      for (let j = i; j < i + 5; j++) expected.push(label(j))
      sent.push(tunnel.send(Buffer.from(label(i))))
      sent.push(tunnel.sendBatch([Buffer.from(label(i + 1)), Buffer.from(label(i + 2))]))
      sent.push(tunnel.sendBatch({ data: Buffer.from(label(i + 3) + label(i + 4)), size: 4 }))
    }
    await Promise.all(sent)
    const got: string[] = []
    while (got.length < expected.length) got.push(text(await tunnel.recv()))
    expect(got).toEqual(expected)
  })

  it('makes trySend say no, and send wait until there is room', async () => {
    const server = await listen()
    const tunnel = await connect(server, { sendQueue: { packets: 1 } })
    const packet = bytes(1, 9000)
    expect(fill(tunnel, packet)).toBe(true)
    await tunnel.send(packet)
    await until(() => tunnel.trySend(packet), 'room')
    expect(tunnel.closed).toBe(false)
  })

  it('is full at the high-water mark, and writable below it', async () => {
    const server = await listen()
    const tunnel = await connect(server, { sendQueue: { packets: 1000 }, highWaterMark: 4 })
    const packet = bytes(1, 9000)
    await tunnel.writable()
    for (let round = 0; round < 20; round++) {
      expect(fill(tunnel, packet)).toBe(true)
      expect(tunnel.stats().sendQueuePackets).toBeLessThanOrEqual(4)
      await tunnel.writable()
      expect(tunnel.trySend(packet)).toBe(true)
    }
    expect(tunnel.stats().droppedWithoutSession).toBe(0)
  })

  it('lets a wait end with the reason of its signal, and those behind it go on', async () => {
    const server = await listen()
    const tunnel = await connect(server, { sendQueue: { packets: 1 } })
    const packet = bytes(1, 9000)
    const reason = new Error('no more patience')
    const controller = new AbortController()
    expect(fill(tunnel, packet)).toBe(true)
    const aborted = tunnel.sendBatch(Array(1000).fill(packet), { signal: controller.signal })
    const behind = tunnel.send(packet)
    expect(tunnel.trySend(packet)).toBe(false)
    controller.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    await behind
    await expect(tunnel.send(packet, { signal: controller.signal })).rejects.toBe(reason)
  })

  it('refuses those who send on and on without waiting', async () => {
    const server = await listen()
    const tunnel = await connect(server, { sendQueue: { packets: 1 } })
    const packet = bytes(1, 9000)
    const sends = Array.from({ length: 100_000 }, () => tunnel.send(packet))
    const results = await Promise.allSettled(sends)
    const refused = results.filter((result) => result.status === 'rejected')
    expect(refused.length).toBeGreaterThan(0)
    expect(new Set(refused.map(({ reason }) => reason.code))).toEqual(new Set(['ERR_SNAPTUN_TOO_MANY_SENDS']))
    expect(tunnel.stats().packetsSent).toBe(sends.length - refused.length)
  })
})
