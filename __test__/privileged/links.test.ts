import { setTimeout as sleep } from 'node:timers/promises'
import { generatePrivateKey } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { Host, link, privileged } from '../network.js'
import { LIVENESS, MARGIN, NOTICE, TICK } from '../recovery-times.js'

const SERVER = '10.87.1.1'
/** Packets that are sent one by one while nothing can leave, and as many at once. */
const LOST = 40
/** System calls that so many packets at once take at most: with GSO it is one, or a few where others are in between. */
const FEW = 4
/** How long the client is cut off: too short for WireGuard's own timers to notice. */
const CUT = 1000

/** A client with a tunnel to a server, over a link of their own. */
async function scene(options: object = {}) {
  const [server, client] = [await Host.start(), await Host.start()]
  await link(
    { host: client, name: 'uplink', addresses: ['10.87.1.2/24'] },
    { host: server, name: 'downlink', addresses: [`${SERVER}/24`] },
  )
  const listening = await server.peer.call('listen', { privateKey: generatePrivateKey(), address: SERVER })
  const access = { server: listening.address, serverPublicKey: listening.publicKey }
  const { tunnel } = await client.peer.call('connect', { ...access, ...options })
  return { server, client, tunnel }
}

/** How a client is cut off, and how it is connected again: commands for its host. */
const cuts: readonly (readonly [
  name: string,
  cut: (client: Host) => Promise<void>,
  mend: (client: Host) => Promise<void>,
])[] = [
  ['the link is down', (client) => client.ip('link set uplink down'), (client) => client.ip('link set uplink up')],
  [
    'there is no route (ENETUNREACH)',
    (client) => client.ip('route del 10.87.1.0/24'),
    (client) => client.ip('route add 10.87.1.0/24 dev uplink'),
  ],
  ...(['unreachable', 'prohibit', 'blackhole'] as const).map(
    (kind, i) =>
      [
        `the route is ${kind} (${['EHOSTUNREACH', 'EACCES', 'EINVAL'][i]})`,
        (client: Host) => client.ip(`route add ${kind} ${SERVER}/32`),
        (client: Host) => client.ip(`route del ${kind} ${SERVER}/32`),
      ] as const,
  ),
  [
    'a firewall lets nothing out (EPERM)',
    (client) =>
      client.nft('table ip cut { chain out { type filter hook output priority 0; udp dport 1-65535 drop; }; }'),
    (client) => client.nft('delete table ip cut'),
  ],
]

describe.skipIf(!privileged)('a client that is cut off (needs root: SNAPTUN_PRIVILEGED=1)', () => {
  it.each(cuts)('as %s counts what it can’t send, and goes on as soon as it can', async (_name, cut, mend) => {
    const { client, server, tunnel } = await scene()
    const before = await client.peer.call('clientStats', { tunnel })
    await cut(client)
    const fates = await client.peer.call('send', { tunnel, sizes: Array(LOST).fill(100) })
    // They are on their way as far as anybody can know; it is UDP.
    expect(new Set(fates)).toEqual(new Set(['sent']))
    expect(await client.peer.call('sendBatch', { tunnel, count: LOST, size: 100 })).toMatchObject({ sent: LOST })
    await sleep(CUT)
    const during = await client.peer.call('clientStats', { tunnel })
    expect(during.droppedBySystem - before.droppedBySystem).toBe(2 * LOST)
    expect(during.packetsReceived).toBe(before.packetsReceived)

    await mend(client)
    const mended = Date.now()
    const { at } = await client.peer.call('knock', { tunnel, timeout: 10_000 })
    expect(at - mended).toBeLessThan(MARGIN)
    expect(await client.peer.call('paced', { tunnel, rate: 500, seconds: 0.2 })).toMatchObject({ lost: 0, doubled: 0 })
    // The system's refusals did not cost the tunnel GSO.
    const { calls } = await client.peer.call('sendBatch', { tunnel, count: LOST, size: 100 })
    expect(calls).toBeLessThanOrEqual(FEW)
    // It is the session that it was.
    expect(await client.peer.call('clientStats', { tunnel })).toMatchObject({ handshakes: 1, socketErrors: 0 })
    expect(await client.peer.call('clientEvents', { tunnel })).toEqual([])
    expect((await server.peer.call('look')).stats.tunnels).toBe(1)
  })

  it(`for longer than livenessTimeout is told within ${NOTICE} ms, and again when it is connected`, async () => {
    const reconnect = { initialDelay: 200, maxDelay: 500, jitter: 50 }
    const { client, server, tunnel } = await scene({ livenessTimeout: LIVENESS, reconnect })
    const events = () => client.peer.call('clientEvents', { tunnel })
    const transfer = client.peer.call('paced', { tunnel, rate: 50, seconds: (NOTICE + MARGIN + 2000) / 1000 })
    await sleep(500)
    await client.ip('link set uplink down')
    const cut = Date.now()
    await sleep(NOTICE + MARGIN)
    const [first, second] = await events()
    expect(first).toMatchObject({ name: 'reconnecting', args: [1, expect.any(Number), 'silent'] })
    expect((first?.at as number) - cut).toBeLessThan(NOTICE + MARGIN)
    expect(second).toMatchObject({ name: 'reconnecting', args: [2, expect.any(Number), 'unanswered'] })

    await client.ip('link set uplink up')
    const mended = Date.now()
    const { silence, doubled } = await transfer
    expect(silence.end - mended).toBeLessThan(reconnect.maxDelay + reconnect.jitter + TICK + MARGIN)
    expect(doubled).toBe(0)
    expect((await events()).at(-1)?.name).toBe('reconnected')
    expect(await client.peer.call('paced', { tunnel, rate: 500, seconds: 0.2 })).toMatchObject({ lost: 0, doubled: 0 })
    // The same address, the same identity: the server has replaced the session, not the tunnel.
    expect((await server.peer.call('look')).stats.tunnels).toBe(1)
  }, 30_000)
})
