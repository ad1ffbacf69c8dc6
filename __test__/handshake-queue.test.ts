/**
 * Packets that are sent while there is no session: before the first handshake, and while the server is lost.
 */
import { generatePrivateKey, SnapTunnel } from 'snaptun'
import { describe, expect, it, onTestFinished } from 'vitest'
import { listen, optionsFor, rejection, text, thrown, until } from './helpers.js'

/** A server that decides about its clients when the test says so, and a client of it that is not connected yet. */
async function undecided(options: Parameters<typeof optionsFor>[1] = {}) {
  let decide!: () => void
  const decided = new Promise<void>((resolve) => {
    decide = resolve
  })
  const server = await listen({ authorize: () => decided.then(() => ({})) })
  const tunnel = await SnapTunnel.open(optionsFor(server, options))
  onTestFinished(() => tunnel.close())
  return { server, tunnel, decide }
}

const packets = (from: number, to: number): Buffer[] =>
  Array.from({ length: to - from }, (_, i) => Buffer.from(`packet ${from + i}`))

describe('a tunnel that is open, and not connected yet', () => {
  it('has what it is sent wait, and sends it in order, once, when it is', async () => {
    const { server, tunnel, decide } = await undecided()
    expect(tunnel.connected).toBe(false)
    expect(thrown(() => tunnel.localAddress, 'ERR_SNAPTUN_NOT_READY').transient).toBe(true)
    const outcomes = await Promise.all(packets(0, 300).map((packet) => tunnel.send(packet)))
    expect(new Set(outcomes)).toEqual(new Set(['queued']))
    expect(await tunnel.sendBatch(packets(300, 600))).toEqual({ sent: 0, queued: 300, dropped: 0 })
    expect(await tunnel.sendBatch({ data: Buffer.concat(packets(100, 110)), size: 10 })).toEqual({
      sent: 0,
      queued: 10,
      dropped: 0,
    })
    expect(tunnel.stats()).toMatchObject({ sendQueuePackets: 610, packetsSent: 0 })

    decide()
    await tunnel.ready()
    expect(tunnel.connected).toBe(true)
    expect(tunnel.localAddress.address).toBe('127.0.0.1')
    expect(await tunnel.send(Buffer.from('last'))).toBe('sent')
    const expected = [...packets(0, 600), ...packets(100, 110), Buffer.from('last')].map(text)
    const received: string[] = []
    for await (const { data } of server) {
      received.push(text(data))
      if (received.length === expected.length) break
    }
    expect(received).toEqual(expected)
    expect(server.tryRecv()).toBeNull()
  })

  it('takes what fits into its queue, and has the rest wait', async () => {
    const { server, tunnel, decide } = await undecided({ sendQueue: { packets: 8 } })
    for (const packet of packets(0, 8)) expect(tunnel.trySend(packet)).toBe(true)
    expect(tunnel.trySend(Buffer.from('no'))).toBe(false)
    const waiting = tunnel.sendBatch(packets(8, 20))
    const room = tunnel.writable()
    await expect(tunnel.writable({ signal: AbortSignal.timeout(5) })).rejects.toMatchObject({ name: 'TimeoutError' })
    decide()
    expect(await waiting).toMatchObject({ dropped: 0 })
    await room
    const received: string[] = []
    for await (const { data } of server) if (received.push(text(data)) === 20) break
    expect(received).toEqual(packets(0, 20).map(text))
    expect(tunnel.stats().droppedWithoutSession).toBe(0)
  })

  it('lets several wait for it, each with a signal of its own, and ends none by an abort', async () => {
    const { tunnel, decide } = await undecided()
    const reason = new Error('enough')
    const impatient = tunnel.ready({ signal: AbortSignal.abort(reason) })
    const waiting = [tunnel.ready(), tunnel.ready({ signal: new AbortController().signal })]
    await expect(impatient).rejects.toBe(reason)
    const late = new AbortController()
    const aborted = tunnel.ready({ signal: late.signal })
    late.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    decide()
    await Promise.all(waiting)
    await tunnel.ready()
  })

  it('closes with the error of a handshake that is not answered, and settles all that waits with it', async () => {
    const { tunnel } = await undecided({ connectTimeout: 300, sendQueue: { packets: 1 } })
    const closed = new Promise((resolve) => tunnel.once('close', resolve))
    expect(await tunnel.send(Buffer.from('1'))).toBe('queued')
    const waiting = [tunnel.ready(), tunnel.send(Buffer.from('2')), tunnel.writable(), tunnel.recv()]
    await Promise.all(waiting.map((promise) => rejection(promise, 'ERR_SNAPTUN_CONNECT_TIMEOUT')))
    expect(await closed).toMatchObject({ code: 'ERR_SNAPTUN_CONNECT_TIMEOUT', transient: true })
    await rejection(tunnel.ready(), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
    await rejection(tunnel.send(Buffer.from('3')), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
  })

  it('closed before it is connected, leaves nobody waiting', async () => {
    const { tunnel } = await undecided()
    const waiting = [tunnel.ready(), tunnel.recv()]
    const settled = Promise.all(waiting.map((promise) => rejection(promise, 'ERR_SNAPTUN_CLOSED')))
    await tunnel.close()
    await settled
  })
})

describe('a client whose server is lost', () => {
  const IMPATIENT = { livenessTimeout: 250, reconnect: { initialDelay: 100, maxDelay: 100, jitter: 0 } }

  it('keeps what fits into its queue, drops and counts the rest, and says which', async () => {
    const privateKey = generatePrivateKey()
    const first = await listen({ privateKey })
    const { port } = first.address()
    const options = { ...IMPATIENT, sendQueue: { packets: 10 } }
    const tunnel = await SnapTunnel.connect(optionsFor(first, options))
    onTestFinished(() => tunnel.close())
    expect(await tunnel.send(Buffer.from('before'))).toBe('sent')
    await first.recv()
    await first.close()
    const [attempt, delay, cause] = await new Promise<[number, number, string]>((resolve) =>
      tunnel.once('reconnecting', (...args) => resolve(args)),
    )
    expect([attempt, delay, cause]).toEqual([1, 100, 'silent'])
    expect(tunnel.connected).toBe(false)

    for (const packet of packets(0, 4)) expect(await tunnel.send(packet)).toBe('queued')
    expect(await tunnel.sendBatch(packets(4, 14))).toEqual({ sent: 0, queued: 6, dropped: 4 })
    expect(await tunnel.send(Buffer.from('too much'))).toBe('dropped')
    expect(tunnel.trySend(Buffer.from('too much'))).toBe(false)
    expect(await tunnel.sendBatch(packets(0, 2000))).toEqual({ sent: 0, queued: 0, dropped: 2000 })
    expect(tunnel.stats()).toMatchObject({ sendQueuePackets: 10, droppedWithoutSession: 4 + 1 + 1 + 2000 })
    const room = tunnel.writable()

    const again = await listen({ privateKey, port })
    await new Promise<void>((resolve) => tunnel.once('reconnected', resolve))
    expect(tunnel.connected).toBe(true)
    await room
    expect(await tunnel.send(Buffer.from('after'))).toBe('sent')
    const received: string[] = []
    for await (const { data } of again) {
      received.push(text(data))
      if (text(data) === 'after') break
    }
    expect(received).toEqual([...packets(0, 10).map(text), 'after'])
  })

  it('closes when it was told not to reconnect, with an error that says why', async () => {
    const server = await listen()
    const tunnel = await SnapTunnel.connect(optionsFor(server, { livenessTimeout: 250, reconnect: false }))
    const closed = new Promise((resolve) => tunnel.once('close', resolve))
    await server.close()
    expect(await closed).toMatchObject({ code: 'ERR_SNAPTUN_SESSION_EXPIRED', transient: true })
  })

  it('gives up when it was told to, with an error that says for how long it tried', async () => {
    const server = await listen()
    const reconnect = { ...IMPATIENT.reconnect, maxElapsed: 500 }
    const tunnel = await SnapTunnel.connect(optionsFor(server, { livenessTimeout: 250, reconnect }))
    const closed = new Promise((resolve) => tunnel.once('close', resolve))
    await server.close()
    await until(() => !tunnel.connected, 'the loss')
    const sends = [tunnel.send(Buffer.from('1')), tunnel.recv()]
    expect(await closed).toMatchObject({
      code: 'ERR_SNAPTUN_RECONNECT_TIMEOUT',
      transient: true,
      message: expect.stringContaining('127.0.0.1'),
    })
    expect(await sends[0]).toBe('queued')
    await rejection(sends[1] as Promise<unknown>, 'ERR_SNAPTUN_RECONNECT_TIMEOUT')
  })
})
