/**
 * A server that is gone, for a moment or for longer, and comes back: when a client notices, when it is mended, and what
 * becomes of packets meanwhile. The server is a process of its own, which is killed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectOptions, generatePrivateKey, SnapTunnel, type SocketAddress } from 'snaptun'
import { describe, expect, it, onTestFinished } from 'vitest'
import { rejection, text, until, watch } from './helpers.js'
import { PeerProcess } from './peer-process.js'
import { LIVENESS, MARGIN, NOTICE, PROBE, TICK } from './recovery-times.js'

/** Delays that a test has the time for. */
const RECONNECT = { initialDelay: 200, factor: 1.5, maxDelay: 1000, jitter: 50 }
/** WireGuard's: data was sent and nothing heard for this long (keepalive timeout and rekey timeout). */
const NEW_HANDSHAKE = 15_000
/** Between two packets of a client that goes on sending. */
const PACE = 50

interface Access {
  readonly privateKey: string
  readonly address: SocketAddress
  readonly publicKey: string
}

/** Starts a server, on the port and with the key of an earlier one if given. */
async function startServer(as?: Access): Promise<{ process: PeerProcess; access: Access }> {
  const process = await PeerProcess.start()
  const privateKey = as?.privateKey ?? generatePrivateKey()
  const options = { privateKey, address: '127.0.0.1', port: as?.address.port ?? 0 }
  return { process, access: { privateKey, ...(await process.call('listen', options)) } }
}

async function connect(access: Access, options: Partial<ConnectOptions>): Promise<SnapTunnel> {
  const tunnel = await SnapTunnel.connect({
    privateKey: generatePrivateKey(),
    server: access.address,
    serverPublicKey: access.publicKey,
    connectTimeout: 5000,
    ...options,
  })
  onTestFinished(() => tunnel.close())
  await tunnel.send(Buffer.from('hello'))
  expect(text(await tunnel.recv())).toBe('hello')
  return tunnel
}

/** Sends packet after packet until one comes back; says when that was. */
async function knock(tunnel: SnapTunnel, timeout: number): Promise<number> {
  const sending = setInterval(() => void tunnel.trySend(Buffer.from('anybody there?')), PACE)
  try {
    await tunnel.recv({ signal: AbortSignal.timeout(timeout) })
    return performance.now()
  } finally {
    clearInterval(sending)
  }
}

/** What a tunnel says of its attempts to reconnect. */
type Attempt = readonly ['reconnecting', attempt: number, delay: number, cause: string]

const attempts = (events: ReturnType<typeof watch>): Attempt[] =>
  events.filter(([name]) => name === 'reconnecting') as unknown as Attempt[]

describe('a server that is killed and started again on its port, with its key,', () => {
  it(`within a second is mended ${LIVENESS + TICK} ms after it was last heard`, async () => {
    const { process: server, access } = await startServer()
    const tunnel = await connect(access, { livenessTimeout: LIVENESS, reconnect: RECONNECT })
    const events = watch(tunnel)
    await server.kill()
    const killed = performance.now()
    await startServer(access)
    const restarted = performance.now()
    const mended = await knock(tunnel, 10_000)
    // A server that is back before it is asked for a sign of life answers, and nobody is told of anything.
    if (restarted - killed < LIVENESS) {
      expect(mended - killed).toBeLessThan(LIVENESS + TICK + PACE + MARGIN)
      expect(events).toEqual([])
    } else {
      expect(mended - restarted).toBeLessThan(NOTICE + MARGIN)
    }
    expect(tunnel.stats().handshakes).toBe(2)
  })

  it(`after seconds: is missed within ${NOTICE} ms, and found within ${RECONNECT.maxDelay} ms of its start`, async () => {
    const { process: server, access } = await startServer()
    const tunnel = await connect(access, {
      livenessTimeout: LIVENESS,
      reconnect: RECONNECT,
      sendQueue: { packets: 16 },
    })
    const events = watch(tunnel)
    await server.kill()
    const killed = performance.now()
    await until(() => events.length > 0, 'the event', NOTICE + MARGIN)
    // No sooner than an answer could have come.
    expect(performance.now() - killed).toBeGreaterThan(PROBE)

    const packets = Array.from({ length: 20 }, (_, i) => `meanwhile ${i}`)
    const fates = await Promise.all(packets.map((packet) => tunnel.send(Buffer.from(packet))))
    expect(fates).toEqual([...Array(16).fill('queued'), ...Array(4).fill('dropped')])
    expect(tunnel.stats()).toMatchObject({ droppedWithoutSession: 4, sendQueuePackets: 16 })

    await until(() => attempts(events).length >= 7, 'attempt 7', 10_000)
    for (const [i, [, attempt, delay, cause]] of attempts(events).entries()) {
      expect(attempt).toBe(i + 1)
      expect(cause).toBe(i === 0 ? 'silent' : 'unanswered')
      const least = Math.min(RECONNECT.initialDelay * RECONNECT.factor ** i, RECONNECT.maxDelay)
      expect(delay).toBeGreaterThanOrEqual(Math.floor(least))
      expect(delay).toBeLessThanOrEqual(Math.ceil(least + RECONNECT.jitter))
    }
    expect(events.every(([name]) => name === 'reconnecting')).toBe(true)

    await startServer(access)
    const restarted = performance.now()
    await until(() => events.at(-1)?.[0] === 'reconnected', 'the event', 10_000)
    const { maxDelay, jitter } = RECONNECT
    expect(performance.now() - restarted).toBeLessThan(maxDelay + jitter + TICK + MARGIN)
    const back: string[] = []
    while (back.length < 16) back.push(text(await tunnel.recv({ signal: AbortSignal.timeout(5000) })))
    expect(back).toEqual(packets.slice(0, 16))
    expect(await tunnel.send(Buffer.from('again'))).toBe('sent')
    expect(text(await tunnel.recv())).toBe('again')
    expect(tunnel.tryRecv()).toBeNull()
    expect(tunnel.stats()).toMatchObject({ droppedWithoutSession: 4, sendQueuePackets: 0, handshakes: 2 })
  }, 30_000)

  it('a second time, is tried as soon as the first time: the backoff starts anew', async () => {
    const first = await startServer()
    const tunnel = await connect(first.access, { livenessTimeout: LIVENESS, reconnect: RECONNECT })
    const events = watch(tunnel)
    let server = first.process
    for (let time = 1; time <= 2; time++) {
      const before = events.length
      await server.kill()
      await until(() => events.length >= before + 3, 'the third attempt', 10_000)
      server = (await startServer(first.access)).process
      await until(() => events.at(-1)?.[0] === 'reconnected', 'the event', 10_000)
      expect(attempts(events.slice(before)).map(([, attempt]) => attempt)).toEqual(
        Array.from({ length: events.length - before - 1 }, (_, i) => i + 1),
      )
      expect((events[before] as Attempt)[2]).toBeLessThanOrEqual(RECONNECT.initialDelay + RECONNECT.jitter)
    }
  }, 30_000)

  it(`without livenessTimeout is found ${NEW_HANDSHAKE} ms after the first packet without an answer`, async () => {
    const { process: server, access } = await startServer()
    const tunnel = await connect(access, {})
    const events = watch(tunnel)
    await server.kill()
    await startServer(access)
    const first = performance.now()
    // Timers are looked at once a tick, and the time of a packet is that of the tick before it.
    const found = (await knock(tunnel, NEW_HANDSHAKE + 10_000)) - first
    expect(found).toBeGreaterThan(NEW_HANDSHAKE - 2 * TICK)
    expect(found).toBeLessThan(NEW_HANDSHAKE + 2 * TICK + MARGIN)
    expect(events).toEqual([])
    expect(tunnel.stats().handshakes).toBe(2)
  }, 40_000)
})

describe('a server that does not come back', () => {
  it('as it started again with another key: the tunnel closes when reconnect.maxElapsed has passed', async () => {
    const maxElapsed = 1500
    const { process: server, access } = await startServer()
    const tunnel = await connect(access, { livenessTimeout: LIVENESS, reconnect: { ...RECONNECT, maxElapsed } })
    const events = watch(tunnel)
    const receiving = rejection(tunnel.recv(), 'ERR_SNAPTUN_RECONNECT_TIMEOUT')
    await server.kill()
    const other = await startServer({ ...access, privateKey: generatePrivateKey() })
    await until(() => events.length > 0, 'the first attempt', NOTICE + MARGIN)
    const missed = performance.now()
    await until(() => tunnel.closed, 'the end', maxElapsed + MARGIN)
    expect(performance.now() - missed).toBeGreaterThan(maxElapsed - 2 * TICK)
    const error = await receiving
    expect(error.message).toContain(`${access.address.port}`)
    expect(events.at(-1)).toEqual(['close', expect.objectContaining({ code: 'ERR_SNAPTUN_RECONNECT_TIMEOUT' })])
    expect(attempts(events).length).toBeGreaterThan(2)
    expect(events).toHaveLength(attempts(events).length + 1)
    await rejection(tunnel.send(Buffer.from('late')), 'ERR_SNAPTUN_RECONNECT_TIMEOUT')
    // It saw the attempts, and could not read them.
    const { stats } = await other.process.call('look')
    expect(stats.handshakes).toBe(0)
    expect(stats.handshakesInvalid).toBeGreaterThan(2)
  }, 30_000)

  it(`and reconnect is false: the tunnel closes within ${NOTICE} ms`, async () => {
    const { process: server, access } = await startServer()
    const tunnel = await connect(access, { livenessTimeout: LIVENESS, reconnect: false })
    const events = watch(tunnel)
    const receiving = rejection(tunnel.recv(), 'ERR_SNAPTUN_SESSION_EXPIRED')
    await server.kill()
    const killed = performance.now()
    await receiving
    expect(performance.now() - killed).toBeLessThan(NOTICE + MARGIN)
    await until(() => events.length > 0, 'the event')
    expect(events).toEqual([['close', expect.objectContaining({ code: 'ERR_SNAPTUN_SESSION_EXPIRED' })]])
    await rejection(tunnel.send(Buffer.from('late')), 'ERR_SNAPTUN_SESSION_EXPIRED')
  })

  it('is asked for, and the process may end all the same: close needs no server', async () => {
    const { process: server, access } = await startServer()
    const tunnel = await connect(access, { livenessTimeout: LIVENESS, reconnect: RECONNECT })
    const events = watch(tunnel)
    await server.kill()
    await until(() => events.length > 1, 'the second attempt', 10_000)
    const waiting = [rejection(tunnel.recv(), 'ERR_SNAPTUN_CLOSED')]
    expect(await tunnel.send(Buffer.from('in vain'))).toBe('queued')
    await tunnel.close()
    await Promise.all(waiting)
    const told = events.length
    expect(events.at(-1)).toEqual(['close', undefined])
    // Longer than any delay: nobody tries any more.
    await sleep(RECONNECT.maxDelay + RECONNECT.jitter)
    expect(events).toHaveLength(told)
  })
})
