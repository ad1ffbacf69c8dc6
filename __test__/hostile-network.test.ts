/**
 * Nothing that a network can do ends a tunnel: what can't be used is dropped, and counted by its reason. Most of it comes
 * through a relay between client and server, which is the network here.
 */
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { ServerStats, ServerTunnel } from 'snaptun'
import { describe, expect, it, onTestFinished } from 'vitest'
import { counterOf, DATA_HEADER, DATA_OVERHEAD, isData, isMessage, noise } from './datagrams.js'
import { connect, text, until } from './helpers.js'
import {
  BURST,
  drops,
  exchange,
  expectUndisturbed,
  inject,
  kept,
  numbered,
  PATIENCE,
  receive,
  scene,
  tally,
} from './hostile-scene.js'
import { LIVENESS, MARGIN, NOTICE, PROBE, TICK } from './recovery-times.js'
import { chain, drop, duplicate, flipped, mutate, pass, reorder, seeded, shadow } from './relay-policies.js'

/** WireGuard's replay window, in packets: one that is this far behind the newest is too old. */
const WINDOW = 8192

/** A socket of somebody else. */
async function stranger() {
  const socket = createSocket('udp4')
  onTestFinished(() => void socket.close())
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return socket
}

describe('a tunnel survives, and counts one by one,', () => {
  it('random datagrams from the server’s address', async () => {
    const all = await scene()
    const random = seeded(20)
    const datagrams = Array.from({ length: 2000 }, () => noise(random))
    const expected = tally(datagrams, (datagram) => (isMessage(datagram) ? 'droppedInvalid' : 'droppedMalformed'))
    expect(expected.droppedInvalid).toBeGreaterThan(200)
    expect(await inject(all, datagrams)).toEqual(expected)
    await expectUndisturbed(all)
  })

  it('datagrams from other addresses, genuine ones too', async () => {
    const all = await scene()
    const { tunnel, relay, events } = all
    const datagram = await kept(all, 'from the right place only')
    const before = tunnel.stats()
    const strangers = await Promise.all([stranger(), stranger()])
    const random = seeded(21)
    for (let i = 0; i < BURST; i++) {
      const bytes = i % 2 === 0 ? datagram : noise(random)
      strangers[i % 2]?.send(bytes, relay.client.port, '127.0.0.1')
    }
    await until(() => tunnel.stats().droppedForeign === BURST, 'the last of them', PATIENCE)
    expect(drops(before, tunnel.stats())).toEqual({ droppedForeign: BURST })
    expect(events).toEqual([])
    // They did not spoil it for the genuine one.
    relay.toClient.inject(datagram)
    expect(await receive(tunnel)).toBe('from the right place only')
    await expectUndisturbed(all)
  })

  it('a genuine datagram with any one bit of its head flipped, or of any other byte', async () => {
    const all = await scene()
    await exchange(all.tunnel, numbered('before', 10))
    const datagram = await kept(all, 'with many bits')
    const bits = [
      ...Array.from({ length: DATA_HEADER * 8 }, (_, bit) => bit),
      ...Array.from({ length: datagram.length - DATA_HEADER }, (_, i) => (DATA_HEADER + i) * 8 + (i % 8)),
    ]
    const counter = counterOf(datagram)
    expect(counter).toBeGreaterThanOrEqual(10n)
    const expected = tally(
      bits.map((bit) => flipped(datagram, bit)),
      (mutant) => {
        if (!isMessage(mutant)) return 'droppedMalformed'
        // A lower counter is one that was used already; that is looked at before the tag.
        return counterOf(mutant) < counter ? 'droppedReplayed' : 'droppedInvalid'
      },
    )
    expect(Object.keys(expected)).toHaveLength(3)
    const mutants = bits.map((bit) => flipped(datagram, bit))
    expect(await inject(all, mutants)).toEqual(expected)
    all.relay.toClient.inject(datagram)
    expect(await receive(all.tunnel)).toBe('with many bits')
    await expectUndisturbed(all)
  })

  it('a genuine datagram cut to any length, or longer than it was, or with the last counter there is', async () => {
    const all = await scene()
    const datagram = await kept(all, 'of one length only')
    const endless = Buffer.from(datagram).fill(0xff, 8, DATA_HEADER)
    const wrong = [
      ...Array.from({ length: datagram.length }, (_, length) => datagram.subarray(0, length)),
      ...[1, 16, 1000].map((more) => Buffer.concat([datagram, randomBytes(more)])),
      endless,
    ]
    const expected = tally(wrong, ({ length }) => (length < DATA_OVERHEAD ? 'droppedMalformed' : 'droppedInvalid'))
    expect(await inject(all, wrong)).toEqual(expected)
    all.relay.toClient.inject(datagram)
    expect(await receive(all.tunnel)).toBe('of one length only')
    await expectUndisturbed(all)
  })

  it('everything that the server ever sent, again', async () => {
    const all = await scene()
    const { relay, tunnel } = all
    await exchange(tunnel, numbered('once', 300))
    const replayed = [...relay.toClient.seen]
    const expected = tally(replayed, (datagram) => (isData(datagram) ? 'droppedReplayed' : 'droppedInvalid'))
    expect(expected.droppedReplayed).toBeGreaterThanOrEqual(300)
    // The response to the first handshake.
    expect(expected.droppedInvalid).toBe(1)
    expect(await inject(all, replayed)).toEqual(expected)
    await expectUndisturbed(all)
  })

  it('a network that sends all three times, the handshake too', async () => {
    const all = await scene({
      spoil: ({ toServer, toClient }) => {
        toServer.policy = duplicate(1, 3)
        toClient.policy = duplicate(1, 3)
      },
    })
    const { relay, server, tunnel } = all
    const packets = numbered('once', 500)
    expect(await exchange(tunnel, packets)).toEqual(packets)
    const data = { up: relay.toServer.seen.filter(isData).length, down: relay.toClient.seen.filter(isData).length }
    await until(() => tunnel.stats().droppedReplayed >= 2 * data.down, 'the last copy at the client', PATIENCE)
    await until(() => server.stats().droppedReplayed >= 2 * data.up, 'the last copy at the server', PATIENCE)
    expect(tunnel.stats()).toMatchObject({ droppedReplayed: 2 * data.down, packetsReceived: 500 })
    expect(server.stats()).toMatchObject({ droppedReplayed: 2 * data.up, packetsReceived: 500, handshakes: 1 })
    relay.toServer.policy = pass
    relay.toClient.policy = pass
    await expectUndisturbed(all)
  })

  it('a network that reorders within the window: all arrives, once', async () => {
    const all = await scene()
    const { relay, tunnel } = all
    relay.toServer.policy = reorder(0.5, BURST / 2)
    relay.toClient.policy = reorder(0.5, BURST / 2)
    const packets = numbered('once', 3000)
    const exchanged = exchange(tunnel, packets)
    const pushing = setInterval(() => {
      relay.toServer.flush()
      relay.toClient.flush()
    }, 10)
    onTestFinished(() => clearInterval(pushing))
    const back = await exchanged
    clearInterval(pushing)
    expect(back).not.toEqual(packets)
    expect(new Set(back)).toEqual(new Set(packets))
    expect(tunnel.stats().droppedReplayed).toBe(0)
    relay.toServer.policy = pass
    relay.toClient.policy = pass
    await expectUndisturbed(all)
  })

  it.each(['client', 'server'] as const)(
    `at the %s, a datagram that ${WINDOW} others overtook; one that ${WINDOW - 1} did arrives`,
    async (receiver) => {
      const all = await scene({ echoes: false })
      const { relay, server, tunnel, remote } = all
      const atClient = receiver === 'client'
      const lane = atClient ? relay.toClient : relay.toServer
      const send = (packet: string) => (atClient ? remote : tunnel).send(Buffer.from(packet))
      const reader = atClient ? tunnel : server
      const tryRecv = () => (atClient ? tunnel.tryRecv() : (server.tryRecv()?.data ?? null))
      const newest = () => counterOf(lane.seen.filter(isData).at(-1) as Buffer)

      lane.hold()
      await send('too old')
      await send('just in time')
      await until(() => lane.seen.filter(isData).length >= 2, 'both at the relay', PATIENCE)
      const [old, young] = lane.take().slice(-2) as [Buffer, Buffer]
      let received = 0
      while (newest() < counterOf(young) + BigInt(WINDOW - 1)) {
        const left = Number(counterOf(young)) + WINDOW - 1 - Number(newest())
        const goal = received + Math.min(BURST, left)
        for (let i = received; i < goal; i++) await send(`${i}`)
        await until(
          () => {
            while (tryRecv() !== null) received++
            return received === goal
          },
          'the burst',
          PATIENCE,
        )
      }
      expect(newest() - counterOf(old)).toBe(BigInt(WINDOW))
      const before = reader.stats().droppedReplayed
      lane.inject(old)
      lane.inject(young)
      const arrived: string[] = []
      await until(
        () => {
          const packet = tryRecv()
          if (packet !== null) arrived.push(text(packet))
          return arrived.length === 1
        },
        'the younger one',
        PATIENCE,
      )
      expect(arrived).toEqual(['just in time'])
      expect(reader.stats().droppedReplayed - before).toBe(1)
      expect(tryRecv()).toBeNull()
      expect(all.events).toEqual([])
      expect(tunnel.stats().handshakes).toBe(1)
    },
    PATIENCE * 3,
  )

  it('«port unreachable», however often: what is sent meanwhile is lost, and the session stays', async () => {
    const all = await scene()
    const { relay, tunnel } = all
    await relay.unplug()
    const lost = numbered('lost', 50)
    for (const packet of lost) await tunnel.send(Buffer.from(packet))
    expect(await pingFrom(relay.address.port)).toBe('ECONNREFUSED')
    await relay.plug()
    expect(await exchange(tunnel, numbered('again', 50))).toEqual(numbered('again', 50))
    await expectUndisturbed(all)
  })
})

describe('a network', () => {
  it('that sends a damaged copy ahead of each datagram lets a client connect at the first attempt', async () => {
    const all = await scene({
      spoil: ({ toServer, toClient }) => {
        toServer.policy = shadow(1)
        toClient.policy = shadow(1)
      },
    })
    const { relay, server, tunnel } = all
    const packets = numbered('once', 200)
    expect(await exchange(tunnel, packets)).toEqual(packets)
    relay.toServer.policy = pass
    relay.toClient.policy = pass
    const { droppedMalformed, droppedReplayed, droppedInvalid } = tunnel.stats()
    expect(droppedMalformed + droppedReplayed + droppedInvalid).toBeGreaterThan(200)
    expect(tunnel.stats().handshakesStarted).toBe(1)
    expect(server.stats().handshakesInvalid + server.stats().droppedMalformed).toBeGreaterThan(0)
    await expectUndisturbed(all)
  })

  it('that floods with responses of the server, old ones, keeps no new one from the client', async () => {
    const { relay, tunnel, events } = await scene({ options: { livenessTimeout: LIVENESS } })
    await until(() => tunnel.stats().handshakes === 2, 'a second handshake', LIVENESS + TICK + MARGIN)
    const flooding = setInterval(() => {
      const responses = relay.toClient.seen.filter((datagram) => !isData(datagram))
      for (let i = 0; i < BURST; i++) relay.toClient.inject(responses[i % responses.length] as Buffer)
    }, 50)
    onTestFinished(() => clearInterval(flooding))
    await until(() => tunnel.stats().handshakes === 4, 'the fourth handshake', 2 * (LIVENESS + TICK) + MARGIN)
    clearInterval(flooding)
    // Nor is the flood passed on to the server as one of cookies.
    expect(tunnel.stats().cookiesSent).toBe(0)
    expect(tunnel.stats().droppedInvalid).toBeGreaterThan(10 * BURST)
    expect(tunnel.stats().handshakesStarted).toBe(4)
    expect(events).toEqual([])
  })

  it('that goes on with noise and replays when the server is silent does not pass for the server', async () => {
    const reconnect = { initialDelay: 200, maxDelay: 500, jitter: 50 }
    const { relay, tunnel, events } = await scene({ options: { livenessTimeout: LIVENESS, reconnect } })
    await exchange(tunnel, numbered('before', 20))
    const genuine = [...relay.toClient.seen]
    const random = seeded(22)
    relay.toServer.policy = drop(1)
    relay.toClient.policy = drop(1)
    const silenced = performance.now()
    const babble = setInterval(() => {
      for (const datagram of [...genuine, noise(random)]) relay.toClient.inject(datagram)
    }, 50)
    onTestFinished(() => clearInterval(babble))
    await until(() => events.length > 0, 'the loss', NOTICE + MARGIN)
    expect(performance.now() - silenced).toBeGreaterThan(PROBE)
    expect(events[0]).toEqual(['reconnecting', 1, expect.any(Number), 'silent'])
    expect(await tunnel.send(Buffer.from('meanwhile'))).toBe('queued')

    relay.toServer.policy = pass
    relay.toClient.policy = pass
    await until(() => events.at(-1)?.[0] === 'reconnected', 'the end of it', 5000)
    expect(await receive(tunnel)).toBe('meanwhile')
    clearInterval(babble)
    expect(tunnel.stats().handshakes).toBe(2)
  })
})

describe('a server keeps a tunnel, and counts one by one,', () => {
  it('its datagrams from other addresses, its handshake too', async () => {
    const all = await scene()
    const { relay, server, tunnel } = all
    await exchange(tunnel, numbered('once', 20))
    const before = server.stats()
    const socket = await stranger()
    const { port, address } = server.address()
    for (const datagram of relay.toServer.seen) socket.send(datagram, port, address)
    const data = relay.toServer.seen.filter(isData).length
    const grown = (name: keyof ServerStats) => server.stats()[name] - before[name]
    await until(() => grown('droppedUnknown') >= data && grown('handshakesReplayed') >= 1, 'the last', PATIENCE)
    expect(grown('droppedUnknown')).toBe(data)
    expect(grown('handshakesReplayed')).toBe(relay.toServer.seen.length - data)
    expect(grown('packetsReceived')).toBe(0)
    await expectUndisturbed(all)
  })

  it('«port unreachable» of a client that ended without a word', async () => {
    const { server, tunnel: other } = await scene()
    const gone = await connect(server)
    const remote = server.tunnel(gone.localAddress) as ServerTunnel
    await gone.close()
    for (let i = 0; i < 50; i++) await remote.send(Buffer.from('nobody there'))
    expect(await pingFrom(remote.remote.port)).toBe('ECONNREFUSED')
    expect(await exchange(other, ['undisturbed'])).toEqual(['undisturbed'])
    expect(server.stats().tunnels).toBe(2)
  })
})

/** What the system says of a datagram to a port of loopback: an error that an ICMP message left, if nobody has the port. */
async function pingFrom(port: number): Promise<string | undefined> {
  const socket = createSocket('udp4')
  onTestFinished(() => void socket.close())
  socket.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.send('anybody there?')
  const [error] = await once(socket, 'error', { signal: AbortSignal.timeout(PATIENCE) }).catch((reason) => [reason])
  return (error as NodeJS.ErrnoException).code
}

it.each([1, 2, 3, 4])(
  'all of that at once does not end a tunnel, and no packet comes twice (seed %i)',
  async (seed) => {
    const all = await scene({ seed })
    const { relay, tunnel, server } = all
    const random = seeded(seed)
    const storm = chain(drop(0.1), duplicate(0.2), shadow(0.2), mutate(0.1), reorder(0.3, 50))
    relay.toServer.policy = storm
    relay.toClient.policy = storm
    const sent = new Set<string>()
    const back: string[] = []
    for (let i = 0; i < 2000; i++) {
      sent.add(`${i}`)
      await tunnel.send(Buffer.from(`${i}`))
      if (i % 5 === 0) relay.toClient.inject(noise(random))
      if (i % 20 !== 0) continue
      await new Promise((resolve) => setImmediate(resolve))
      for (let packet = tunnel.tryRecv(); packet !== null; packet = tunnel.tryRecv()) back.push(text(packet))
    }
    relay.toServer.policy = pass
    relay.toClient.policy = pass
    relay.toServer.flush()
    await until(() => server.stats().receiveQueuePackets === 0, 'the end of the echo', PATIENCE)
    relay.toClient.flush()
    await tunnel.send(Buffer.from('last'))
    for (let packet = ''; packet !== 'last'; packet = await receive(tunnel)) if (packet !== '') back.push(packet)
    // 0.9 of all pass unharmed in each direction, of which 0.9 are not mutated.
    expect(back.length).toBeGreaterThan(2000 * 0.5)
    expect(new Set(back).size).toBe(back.length)
    expect(back.filter((packet) => !sent.has(packet))).toEqual([])

    // Each datagram that the relay sent shows somewhere, exactly once.
    const counted = () => {
      const stats = tunnel.stats()
      const { packetsReceived, keepalivesReceived, handshakes } = stats
      const { droppedMalformed, droppedReplayed, droppedInvalid } = stats
      return packetsReceived + keepalivesReceived + handshakes + droppedMalformed + droppedReplayed + droppedInvalid
    }
    await until(() => counted() >= relay.toClient.delivered, 'the last datagram', PATIENCE)
    expect(counted()).toBe(relay.toClient.delivered)
    const { droppedMalformed, droppedReplayed, droppedInvalid } = tunnel.stats()
    for (const count of [droppedMalformed, droppedReplayed, droppedInvalid]) expect(count).toBeGreaterThan(0)
    await expectUndisturbed(all)
  },
)
