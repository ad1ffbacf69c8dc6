import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { SnapTunnel, type SnapTunServer } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { bytes, connect, echoed, listen, optionsFor, text, thrown, until } from './helpers.js'

/** Packets that tell their number. */
const numbered = (count: number): Buffer[] => Array.from({ length: count }, (_, i) => Buffer.from(`${i}`))

describe('a tunnel as a Duplex', () => {
  it('carries packets through a pipeline, whole and in order', async () => {
    const { tunnel } = await echoed()
    const packets = numbered(2000)
    const got: string[] = []
    const stream = tunnel.toDuplex()
    const reading = pipeline(
      stream,
      new Writable({
        objectMode: true,
        write(packet: Uint8Array, _encoding, done) {
          if (got.push(text(packet)) === packets.length) stream.destroy()
          done()
        },
      }),
    ).catch((error: NodeJS.ErrnoException) => error.code)
    await pipeline(Readable.from(packets), stream, { end: false })
    expect(await reading).toBe('ERR_STREAM_PREMATURE_CLOSE')
    expect(got).toEqual(packets.map(text))
    await until(() => tunnel.closed, 'the end of the tunnel')
  })

  it('reads on its own, and iterates', async () => {
    const { tunnel } = await echoed()
    const stream = tunnel.toDuplex()
    for (const packet of numbered(5)) stream.write(packet)
    const got: string[] = []
    for await (const packet of stream) if (got.push(text(packet)) === 5) break
    expect(got).toEqual(['0', '1', '2', '3', '4'])
    // Leaving the loop destroys a stream, and this one owns its tunnel.
    expect(tunnel.closed).toBe(true)
  })

  it('pushes back where nobody reads: packets wait in the receive queue, and what it can not hold is counted', async () => {
    const server = await listen()
    const tunnel = await connect(server, { receiveQueue: { packets: 64 } })
    const stream = tunnel.toDuplex({ highWaterMark: 4 })
    stream.once('readable', () => undefined)
    const [there] = server.tunnels()
    await there?.sendBatch(numbered(1000))
    await until(() => tunnel.stats().packetsReceived + tunnel.stats().droppedReceiveQueueFull === 1000, 'all packets')
    expect(stream.readableLength).toBeLessThanOrEqual(4)
    const { packetsReceived } = tunnel.stats()
    expect(packetsReceived).toBeLessThan(200)
    const got: string[] = []
    for await (const packet of stream) if (got.push(text(packet)) === packetsReceived) break
    expect(got.length).toBe(packetsReceived)
  })

  it('lets the event loop turn while packets keep coming', async () => {
    const { tunnel } = await echoed()
    const stream = tunnel.toDuplex()
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    let received = 0
    stream.on('data', () => void received++)
    for (let i = 0; i < 20; i++) await tunnel.sendBatch({ data: bytes(1, 100_000), size: 100 })
    await until(() => received > 5000, 'packets')
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(0)
    stream.destroy()
  })

  it('fails with the error of a packet that can not be sent, and closes the tunnel', async () => {
    const { tunnel } = await echoed()
    const stream = tunnel.toDuplex()
    const failed = once(stream, 'error')
    stream.write(Buffer.alloc(70_000))
    expect((await failed)[0]).toMatchObject({ code: 'ERR_SNAPTUN_PACKET_TOO_LARGE' })
    await until(() => tunnel.closed, 'the end of the tunnel')
  })

  it('ends when the tunnel is closed, after what was read', async () => {
    const { tunnel } = await echoed()
    const stream = tunnel.toDuplex()
    const ended = once(stream, 'end')
    stream.resume()
    await tunnel.close()
    await ended
  })

  it('fails with what ended the tunnel', async () => {
    const server: SnapTunServer = await listen()
    const tunnel = await SnapTunnel.connect(optionsFor(server, { livenessTimeout: 250, reconnect: false }))
    const stream = tunnel.toDuplex()
    const failed = once(stream, 'error')
    stream.resume()
    await server.close()
    expect((await failed)[0]).toMatchObject({ code: 'ERR_SNAPTUN_SESSION_EXPIRED' })
  })

  it('leaves the tunnel open when it was told to', async () => {
    const { tunnel } = await echoed()
    const stream = tunnel.toDuplex({ closeTunnel: false })
    stream.resume()
    await new Promise(setImmediate)
    stream.destroy()
    await once(stream, 'close')
    await tunnel.send(Buffer.from('still there'))
    expect(text(await tunnel.recv())).toBe('still there')
  })

  it('refuses options that are none', async () => {
    const { tunnel } = await echoed()
    for (const options of [{ highWaterMark: 0 }, { closeTunnel: 1 }, 5, null]) {
      thrown(() => tunnel.toDuplex(options as never), 'ERR_SNAPTUN_INVALID_OPTION')
    }
  })
})
