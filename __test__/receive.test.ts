import type { PacketBatch, SnapTunnel } from 'snaptun'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { bytes, connect, echoed, listen, rejection, text, thrown, until } from './helpers.js'

describe('receiving', () => {
  it('serves those who wait in their order, and leaves out who gave up', async () => {
    const { tunnel } = await echoed()
    const controller = new AbortController()
    const waits = [tunnel.recv(), tunnel.recv({ signal: controller.signal }), tunnel.recv()]
    const reason = new Error('gave up')
    controller.abort(reason)
    await expect(waits[1]).rejects.toBe(reason)
    await tunnel.sendBatch([Buffer.from('first'), Buffer.from('second')])
    expect(text((await waits[0]) as Uint8Array)).toBe('first')
    expect(text((await waits[2]) as Uint8Array)).toBe('second')
    await expect(tunnel.recv({ signal: controller.signal })).rejects.toBe(reason)
  })

  it('gives null at once when there is nothing', async () => {
    const { tunnel } = await echoed()
    expect(tunnel.tryRecv()).toBeNull()
    await tunnel.send(Buffer.from('x'))
    let got: Uint8Array | null = null
    await until(() => {
      got = tunnel.tryRecv()
      return got !== null
    }, 'the packet')
    expect(text(got as never)).toBe('x')
    expect(tunnel.tryRecv()).toBeNull()
  })

  it('iterates over copies, which stay as they are', async () => {
    const { tunnel } = await echoed()
    const packets = Array.from({ length: 2000 }, (_, i) => Buffer.from(`kept ${i}`))
    for (let at = 0; at < packets.length; at += 100) {
      await tunnel.sendBatch(packets.slice(at, at + 100))
      await until(() => tunnel.stats().packetsReceived === at + 100, 'the echo')
    }
    const kept: Uint8Array[] = []
    for await (const packet of tunnel) if (kept.push(packet) === packets.length) break
    expect(kept.map(text)).toEqual(packets.map(text))
  })

  it('drops the newest when the queue is full, and counts them', async () => {
    const { tunnel } = await echoed('127.0.0.1', { receiveQueue: { packets: 16 } })
    await tunnel.sendBatch(Array.from({ length: 100 }, (_, i) => Buffer.from(`${i}`)))
    await until(() => tunnel.stats().droppedReceiveQueueFull + tunnel.stats().packetsReceived === 100, 'all of them')
    const { packetsReceived } = tunnel.stats()
    expect(packetsReceived).toBeGreaterThanOrEqual(16)
    expect(packetsReceived).toBeLessThan(100)
    for (let i = 0; i < packetsReceived; i++) expect(text(await tunnel.recv())).toBe(`${i}`)
    expect(tunnel.tryRecv()).toBeNull()
    await tunnel.send(Buffer.from('room again'))
    expect(text(await tunnel.recv())).toBe('room again')
  })

  it.each(['one by one', 'in batches'])(
    'lets the event loop turn while there is always more to read, %s',
    async (how) => {
      const COUNT = 4000
      const server = await listen()
      const tunnel = await connect(server)
      const [target] = server.tunnels()
      for (let sent = 50; sent <= COUNT; sent += 50) {
        await target?.sendBatch({ data: bytes(sent, 50 * 10), size: 10 })
        await until(() => tunnel.stats().packetsReceived === sent, 'what was sent')
      }
      let longest = 0
      let last = performance.now()
      const ticks = setInterval(() => {
        const now = performance.now()
        longest = Math.max(longest, now - last)
        last = now
      }, 1)
      const work = (packets: number): void => {
        for (const end = performance.now() + packets * 0.1; performance.now() < end; );
      }
      let read = 0
      const start = performance.now()
      if (how === 'one by one') {
        for await (const _packet of tunnel) {
          work(1)
          if (++read === COUNT) break
        }
      } else {
        for await (const batch of tunnel.batches()) {
          work(batch.length)
          read += batch.length
          if (read === COUNT) break
        }
      }
      clearInterval(ticks)
      expect(performance.now() - start).toBeGreaterThan(COUNT * 0.1)
      expect(longest).toBeGreaterThan(0)
      expect(longest).toBeLessThan(200)
    },
  )
})

describe('a batch', () => {
  /** The next batch of a tunnel, and the iterator, which still holds it. */
  async function next(tunnel: SnapTunnel): Promise<[PacketBatch, AsyncIterableIterator<PacketBatch>]> {
    const iterator = tunnel.batches()
    return [(await iterator.next()).value as PacketBatch, iterator]
  }

  it('shows packets where they lie, with their sizes', async () => {
    const { tunnel } = await echoed()
    await tunnel.sendBatch([Buffer.from('one'), Buffer.from('fifteen')])
    await until(() => tunnel.stats().packetsReceived === 2, 'both')
    const [batch, iterator] = await next(tunnel)
    expect(batch.length).toBe(2)
    expect([batch.size(0), batch.size(1)]).toEqual([3, 7])
    expect([text(batch.data(0)), text(batch.data(1))]).toEqual(['one', 'fifteen'])
    expect(batch.data(0).buffer).toBe(batch.data(1).buffer)
    for (const i of [-1, 2, 0.5, Number.NaN, '0']) thrown(() => batch.data(i as never), 'ERR_SNAPTUN_INVALID_OPTION')
    await iterator.return?.()
  })

  it('is good until the next turn, and says so afterwards', async () => {
    const { server, tunnel } = await echoed()
    await tunnel.send(Buffer.from('one'))
    const [batch, iterator] = await next(tunnel)
    expect(text(batch.data(0))).toBe('one')
    await tunnel.send(Buffer.from('two'))
    const second = (await iterator.next()).value as PacketBatch
    expect(text(second.data(0))).toBe('two')
    thrown(() => batch.data(0), 'ERR_SNAPTUN_BATCH_RELEASED')
    thrown(() => batch.size(0), 'ERR_SNAPTUN_BATCH_RELEASED')
    await rejection(tunnel.sendBatch(batch), 'ERR_SNAPTUN_BATCH_RELEASED')
    await iterator.return?.()
    thrown(() => second.data(0), 'ERR_SNAPTUN_BATCH_RELEASED')
    expect(server.closed).toBe(false)
  })

  it('is echoed with what was changed in it', async () => {
    const server = await listen()
    const tunnel = await connect(server)
    await tunnel.send(Buffer.from('hello'))
    for await (const batch of server.batches()) {
      batch.data(0)[0] = 'H'.charCodeAt(0)
      await server.sendBatch(batch)
      break
    }
    expect(text(await tunnel.recv())).toBe('Hello')
  })

  it('stays as it is while a send from it waits, even if nobody awaits that', async () => {
    vi.stubEnv('SNAPTUN_SEND_MODE', 'shard')
    onTestFinished(() => void vi.unstubAllEnvs())
    const server = await listen({ sendQueue: { packets: 1 } })
    const echoing = (async () => {
      for await (const batch of server.batches()) void server.sendBatch(batch)
    })()
    const tunnel = await connect(server)
    for (let round = 0; round < 50; round++) {
      const packets = Array.from({ length: 64 }, (_, i) => bytes(round * 64 + i, 1000))
      await tunnel.sendBatch(packets)
      for (const packet of packets) expect(Buffer.compare(await tunnel.recv(), packet)).toBe(0)
    }
    await server.close()
    await echoing
  })

  it('has one reader at a time', async () => {
    const { tunnel } = await echoed()
    await tunnel.send(Buffer.from('one'))
    const [batch, iterator] = await next(tunnel)
    await rejection(tunnel.batches().next(), 'ERR_SNAPTUN_BUSY')
    await rejection(tunnel.recv(), 'ERR_SNAPTUN_BUSY')
    thrown(() => tunnel.tryRecv(), 'ERR_SNAPTUN_BUSY')
    expect(text(batch.data(0))).toBe('one')
    const waiting = iterator.next()
    await rejection(iterator.next(), 'ERR_SNAPTUN_BUSY')
    await tunnel.send(Buffer.from('two'))
    expect(text(((await waiting).value as PacketBatch).data(0))).toBe('two')
    await iterator.return?.()
    expect(await iterator.next()).toEqual({ done: true, value: undefined })

    const recv = tunnel.recv()
    const other = tunnel.batches()
    await rejection(other.next(), 'ERR_SNAPTUN_BUSY')
    await tunnel.send(Buffer.from('three'))
    expect(text(await recv)).toBe('three')
    await tunnel.send(Buffer.from('four'))
    expect(text(((await other.next()).value as PacketBatch).data(0))).toBe('four')
    await other.return?.()
  })

  it('begins after the packets that recv took, and recv goes on after it', async () => {
    const { tunnel } = await echoed()
    await tunnel.sendBatch(['a', 'b', 'c'].map((word) => Buffer.from(word)))
    await until(() => tunnel.stats().packetsReceived === 3, 'all three')
    expect(text(await tunnel.recv())).toBe('a')
    const [batch, iterator] = await next(tunnel)
    expect(batch.length).toBe(2)
    expect([text(batch.data(0)), text(batch.data(1))]).toEqual(['b', 'c'])
    await tunnel.sendBatch(batch)
    await iterator.return?.()
    expect([text(await tunnel.recv()), text(await tunnel.recv())]).toEqual(['b', 'c'])
  })

  it('can be given up while it is waited for', async () => {
    const { tunnel } = await echoed()
    const iterator = tunnel.batches()
    const waiting = iterator.next()
    await iterator.return?.()
    expect(await waiting).toEqual({ done: true, value: undefined })
    await tunnel.send(Buffer.from('for somebody else'))
    expect(text(await tunnel.recv())).toBe('for somebody else')
  })
})
