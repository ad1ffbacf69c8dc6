import type { DatagramBatch, UdpBatchSocket } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { bytes, echoed, rejection, text, thrown, until } from './helpers.js'
import { bind, dgram, pair, receive } from './udp-helpers.js'

/** Everything of one batch that is there. */
function read(batch: DatagramBatch): string[] {
  return Array.from({ length: batch.length }, (_, i) => text(batch.data(i)))
}

/** Sends each datagram back to where it came from, until the socket closes. */
async function echo(socket: UdpBatchSocket): Promise<void> {
  for await (const batch of socket.batches()) await socket.sendBatch(batch)
}

describe('a batch', () => {
  it('of one size and target goes out in a few system calls, and comes in by a few', async () => {
    const [one, other] = await pair()
    const data = bytes(1, 500 * 1200)
    await one.sendBatch({ data, size: 1200 }, other.address())
    const datagrams = await receive(other, 500)
    expect(Buffer.concat(datagrams.map((datagram) => datagram.data)).equals(data)).toBe(true)
    expect(one.stats()).toMatchObject({ datagramsSent: 500, bytesSent: data.length, droppedBySystem: 0 })
    expect(other.stats()).toMatchObject({ datagramsReceived: 500, bytesReceived: data.length })
    if (process.platform === 'linux') {
      expect(one.stats().sendCalls).toBeLessThan(15)
      expect(other.stats().receiveCalls).toBeLessThan(60)
    }
  })

  it.each([1, 7, 999, 1471, 8999, 40_000])(
    'is split at %i bytes, and its last datagram may be shorter',
    async (size) => {
      const [one, other] = await pair()
      const data = bytes(size, Math.min(200_000, size * 150) - (size > 1 ? 3 : 0))
      await one.sendBatch({ data, size }, other.address())
      const count = Math.ceil(data.length / size)
      const datagrams = await receive(other, count)
      for (const [i, datagram] of datagrams.entries()) {
        expect(data.subarray(i * size, (i + 1) * size).equals(datagram.data)).toBe(true)
      }
    },
  )

  it('can be an array of datagrams of any sizes', async () => {
    const [one, other] = await pair()
    const sizes = [10, 10, 10, 5, 20, 0, 20, 1200, 1200, 1100, 1200, 0, 0, 3]
    const datagrams = sizes.map((size, i) => bytes(i, size))
    await one.sendBatch(datagrams, other.address())
    for (const [i, { data }] of (await receive(other, sizes.length)).entries()) {
      expect(datagrams[i]?.equals(data)).toBe(true)
    }
  })

  it('can have a target for each datagram, in every form, and all leave in order', async () => {
    const one = await bind()
    const other = await bind({ address: '0.0.0.0' })
    const { port } = other.address()
    const to = Array.from({ length: 300 }, (_, i) => ({ address: `127.0.0.${1 + (i % 100)}`, port }))
    const datagrams = to.map((_, i) => bytes(i, 100))
    const arrived = async () => {
      for (const [i, { data, local }] of (await receive(other, to.length)).entries()) {
        expect(local).toBe(to[i]?.address)
        expect(datagrams[i]?.equals(data)).toBe(true)
      }
    }
    await one.sendBatch(datagrams, to)
    await arrived()
    if (process.platform === 'linux') expect(one.stats().sendCalls).toBeLessThan(10)
    await one.sendBatch({ data: Buffer.concat(datagrams), size: 100 }, to)
    await arrived()
    await one.sendBatch(datagrams.map((data, i) => ({ data, address: `127.0.0.${1 + (i % 100)}`, port })))
    await arrived()
  })

  it('that was received can be sent back to all who sent, from where they sent to', async () => {
    const server = await bind({ address: '0.0.0.0' })
    void echo(server)
    const clients = await Promise.all(Array.from({ length: 20 }, () => bind()))
    const { port } = server.address()
    for (const [i, client] of clients.entries()) {
      const address = `127.0.0.${100 + i}`
      await client.sendBatch([Buffer.from(`${i}`), new Uint8Array(), Buffer.from('again')], { address, port })
    }
    for (const [i, client] of clients.entries()) {
      const back = await receive(client, 3)
      expect(back.map(({ data }) => text(data))).toEqual([`${i}`, '', 'again'])
      expect(back.map(({ remote }) => remote.address)).toEqual(Array(3).fill(`127.0.0.${100 + i}`))
    }
  })

  it('that was received can be sent elsewhere, and changed before', async () => {
    const [one, relay] = await pair()
    const other = await dgram()
    await one.sendBatch(['abc', 'def'].map(Buffer.from), relay.address())
    for await (const batch of relay.batches()) {
      for (let i = 0; i < batch.length; i++) batch.data(i)[0] = 0x5f
      await relay.sendBatch(batch, { address: '127.0.0.1', port: other.port }, { ecn: 1 })
      if (relay.stats().datagramsSent === 2) break
    }
    expect([(await other.next()).data, (await other.next()).data].map(String)).toEqual(['_bc', '_ef'])
  })

  it('can go from a socket into a tunnel and back, from where it lies', async () => {
    const { tunnel } = await echoed()
    const [one, relay] = await pair()
    await one.sendBatch(['abc', 'def'].map(Buffer.from), relay.address())
    const batches = relay.batches()
    for (let relayed = 0; relayed < 2; ) {
      const { value } = await batches.next()
      relayed += value?.length ?? 0
      await tunnel.sendBatch(value as DatagramBatch)
    }
    await batches.return?.()
    for (let back = 0; back < 2; ) {
      for await (const batch of tunnel.batches()) {
        back += batch.length
        await relay.sendBatch(batch, one.address())
        break
      }
    }
    expect((await receive(one, 2)).map(({ data }) => text(data))).toEqual(['abc', 'def'])
    const { value } = await (async () => {
      await tunnel.send(Buffer.from('x'))
      return tunnel.batches().next()
    })()
    // Nobody sent it through a socket, so there is nobody to send it back to.
    await rejection(relay.sendBatch(value as never), 'ERR_SNAPTUN_NOT_CONNECTED')
  })

  it('tells of each datagram without copying it, until the next turn', async () => {
    const [one, other] = await pair()
    const third = await bind()
    const batches = other.batches()
    await one.send(Buffer.from('first'), other.address(), { ecn: 2 })
    const first = (await batches.next()).value as DatagramBatch
    expect(read(first)).toEqual(['first'])
    expect([first.size(0), first.remote(0), first.local(0), first.ecn(0)]).toEqual([5, one.address(), '127.0.0.1', 2])
    thrown(() => first.remote(1), 'ERR_SNAPTUN_INVALID_OPTION')
    await third.send(Buffer.from('second'), other.address())
    const second = (await batches.next()).value as DatagramBatch
    expect([second.remote(0), second.ecn(0)]).toEqual([third.address(), 0])
    for (const call of [() => first.data(0), () => first.remote(0), () => first.local(0), () => first.ecn(0)]) {
      thrown(call, 'ERR_SNAPTUN_BATCH_RELEASED')
    }
    await rejection(other.sendBatch(first), 'ERR_SNAPTUN_BATCH_RELEASED')
    await rejection(other.recv(), 'ERR_SNAPTUN_BUSY')
  })

  it('tells many senders apart', async () => {
    const other = await bind()
    const senders = await Promise.all(Array.from({ length: 8 }, () => bind()))
    for (let i = 0; i < 80; i++) await senders[i % 8]?.send(Buffer.from([i]), other.address())
    for (const [i, { data, remote }] of (await receive(other, 80)).entries()) {
      expect(data[0]).toBe(i)
      expect(remote).toEqual(senders[i % 8]?.address())
    }
  })
})

describe('what can not be sent', () => {
  it('sends nothing of its batch', async () => {
    const [one, other] = await pair()
    const to = other.address()
    const good = Buffer.from('x')
    await rejection(one.sendBatch([good, 'text' as never], to), 'ERR_SNAPTUN_INVALID_PACKET')
    await rejection(one.sendBatch([good, new Uint8Array(65_508)], to), 'ERR_SNAPTUN_PACKET_TOO_LARGE')
    await rejection(one.sendBatch([good, good], [to]), 'ERR_SNAPTUN_INVALID_OPTION')
    await rejection(one.sendBatch({ data: good, size: 1 }, [to, to]), 'ERR_SNAPTUN_INVALID_OPTION')
    await rejection(one.sendBatch({ data: good, size: 0 }, to), 'ERR_SNAPTUN_INVALID_OPTION')
    await rejection(one.sendBatch('text' as never, to), 'ERR_SNAPTUN_INVALID_PACKET')
    await rejection(one.sendBatch([good, good], [to, { ...to, port: 0 }]), 'ERR_SNAPTUN_INVALID_ADDRESS')
    await rejection(one.sendBatch([{ data: good, ...to, address: 'nowhere' }]), 'ERR_SNAPTUN_INVALID_ADDRESS')
    await rejection(one.sendBatch([good, good], [to, { ...to, address: '::1' }]), 'ERR_SNAPTUN_INVALID_ADDRESS')
    await rejection(one.sendBatch([good], to, { ecn: 4 }), 'ERR_SNAPTUN_INVALID_OPTION')
    expect(one.stats()).toMatchObject({ datagramsSent: 0, droppedBySystem: 0, sendCalls: 0 })
  })

  it('because its target is impossible is dropped and counted, and the others are sent', async () => {
    const relay = await bind({ address: '::' })
    const [v4, v6, both] = [await bind(), await bind({ address: '::1' }), await bind({ address: '0.0.0.0' })]
    const { port } = relay.address()
    const batches = relay.batches()
    for (let i = 0; i < 6; i++) {
      if (i % 2 === 0) await v4.send(Buffer.from(`${i}`), { address: '127.0.0.1', port })
      else await v6.send(Buffer.from(`${i}`), { address: '::1', port })
    }
    for (let relayed = 0; relayed < 6; ) {
      const { value } = await batches.next()
      relayed += value?.length ?? 0
      await both.sendBatch(value as DatagramBatch)
    }
    expect((await receive(v4, 3)).map(({ data }) => text(data))).toEqual(['0', '2', '4'])
    expect(both.stats()).toMatchObject({ datagramsSent: 3, droppedImpossible: 3 })
  })

  it('because the system refuses it is told, and neither stops the others nor switches segmentation off', async () => {
    const [one, other] = await pair()
    const told: [string, number][] = []
    one.on('error', (error, dropped) => told.push([error.code, dropped]))
    const to = other.address()
    const forbidden = { address: '255.255.255.255', port: 9 }
    const targets = Array.from({ length: 60 }, (_, i) => (i % 6 === 5 ? forbidden : to))
    await one.sendBatch({ data: bytes(1, 60 * 1000), size: 1000 }, targets)
    expect(await receive(other, 50)).toHaveLength(50)
    await until(() => told.reduce((sum, [, dropped]) => sum + dropped, 0) === 10, 'the errors')
    expect(new Set(told.map(([code]) => code))).toEqual(new Set(['ERR_SNAPTUN_PERMISSION']))
    expect(one.stats()).toMatchObject({ datagramsSent: 50, droppedBySystem: 10 })
    const { sendCalls } = one.stats()
    await one.sendBatch({ data: bytes(1, 50 * 1000), size: 1000 }, to)
    expect(await receive(other, 50)).toHaveLength(50)
    if (process.platform === 'linux') expect(one.stats().sendCalls - sendCalls).toBe(1)
  })
})

describe('a full receive queue', () => {
  it('drops the newest, and counts every one of them', async () => {
    const one = await bind()
    const other = await bind({ receiveQueue: { packets: 64 } })
    await one.sendBatch(
      Array.from({ length: 300 }, (_, i) => Buffer.from(`${i}`)),
      other.address(),
    )
    const all = () => other.stats().datagramsReceived + other.stats().droppedReceiveQueueFull
    await until(() => all() === 300, 'all datagrams')
    expect(other.stats()).toMatchObject({ droppedReceiveQueueFull: 236, receiveQueueDatagrams: 64 })
    expect((await receive(other, 64)).map(({ data }) => text(data))).toEqual(
      Array.from({ length: 64 }, (_, i) => `${i}`),
    )
    expect(other.tryRecv()).toBeNull()
    await one.send(Buffer.from('later'), other.address())
    expect(text((await other.recv()).data)).toBe('later')
  })

  it('is bounded in bytes too, and holds the largest datagram', async () => {
    const one = await bind()
    const other = await bind({ receiveQueue: { bytes: 65_536 } })
    for (let i = 0; i < 5; i++) await one.send(new Uint8Array(65_507), other.address())
    const all = () => other.stats().datagramsReceived + other.stats().droppedReceiveQueueFull
    await until(() => all() === 5, 'all datagrams')
    // 128 KiB are the least.
    expect(other.stats().datagramsReceived).toBe(1)
    expect((await other.recv()).data).toHaveLength(65_507)
  })
})

describe('a sender that does not wait', () => {
  it('is told when there is no more room, loses nothing that was taken, and keeps its order', async () => {
    const [one, other] = await pair()
    const to = other.address()
    let taken = 0
    const seen = (async () => {
      let next = 0
      for await (const batch of other.batches()) {
        for (let i = 0; i < batch.length; i++) expect(Buffer.from(batch.data(i)).readUInt32BE()).toBe(next++)
        if (next === 20_000) return next
      }
      return next
    })()
    while (taken < 20_000) {
      const packet = Buffer.alloc(100)
      packet.writeUInt32BE(taken)
      if (one.trySend(packet, to)) taken++
      if (taken % 200 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await seen).toBe(20_000)
  })
})
