import { describe, expect, it } from 'vitest'
import { Host, link, privileged } from '../network.js'
import { UdpPeer } from '../udp-peer.js'

const SENDER = '10.88.1.1'
const RECEIVER = '10.88.1.2'
const UPLINK = 'uplink'
const DOWNLINK = 'downlink'

/** Two hosts on one link, each with a socket. `features` are switched off at both ends. */
async function network(features: { sender?: string[]; receiver?: string[]; options?: object } = {}) {
  const [one, other] = [await Host.start(), await Host.start()]
  await link(
    { host: one, name: UPLINK, addresses: [`${SENDER}/24`] },
    { host: other, name: DOWNLINK, addresses: [`${RECEIVER}/24`] },
  )
  for (const feature of features.sender ?? []) await one.run(['ethtool', '-K', UPLINK, feature, 'off'])
  for (const feature of features.receiver ?? []) await other.run(['ethtool', '-K', DOWNLINK, feature, 'off'])
  const [sender, receiver] = [await UdpPeer.start(one), await UdpPeer.start(other)]
  await sender.call('bind', { address: '0.0.0.0', ...features.options })
  const to = await receiver.call('bind', { address: RECEIVER })
  return { one, sender, receiver, to }
}

/** Waits until so many datagrams arrived, and returns their numbers. */
async function arrived(receiver: UdpPeer, count: number): Promise<number[]> {
  const numbers: number[] = []
  const end = performance.now() + 10_000
  while (numbers.length < count && performance.now() < end) {
    numbers.push(...(await receiver.call('take')))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return numbers
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

describe.skipIf(!privileged)('over a link (needs root: SNAPTUN_PRIVILEGED=1)', () => {
  it.each([
    { name: 'as it is', off: {} },
    { name: 'whose sending end does not segment', off: { sender: ['tx-udp-segmentation', 'gso'] } },
    { name: 'whose sending end computes no checksums either', off: { sender: ['tx-udp-segmentation', 'gso', 'tx'] } },
    {
      name: 'whose receiving end does not put together',
      off: { receiver: ['gro', 'rx-gro-list', 'rx-udp-gro-forwarding'] },
    },
    {
      name: 'without any offload',
      off: {
        sender: ['tx-udp-segmentation', 'gso', 'tx', 'gro'],
        receiver: ['gro', 'rx', 'rx-gro-list', 'rx-udp-gro-forwarding'],
      },
    },
  ])('$name all datagrams arrive, each once, in order', async ({ off }) => {
    const { sender, receiver, to } = await network(off)
    for (const [size, count] of [
      [1200, 500],
      [1472, 300],
      [64, 1000],
    ] as const) {
      const before = (await sender.call('look')).stats
      const { stats } = await sender.call('send', { to, size, count })
      expect(await arrived(receiver, count)).toEqual(upTo(count))
      expect(stats.datagramsSent - before.datagramsSent).toBe(count)
      // This kernel segments in software where the interface does not; the fall-back for those that refuse is tested in
      // crates/snaptun/src/udp_batch/tests.rs, by a socket that is refused.
      expect(stats.sendCalls - before.sendCalls).toBeLessThan(count / 8)
      expect(stats.droppedBySystem).toBe(0)
    }
    expect(await receiver.call('take')).toEqual([])
  })

  it('a datagram beyond the MTU is refused, and those that fit go on by trains', async () => {
    const { sender, receiver, to } = await network()
    expect(await sender.call('sendOne', { to, size: 1473 })).toEqual({
      code: 'ERR_SNAPTUN_PACKET_TOO_LARGE',
      cause: 'EMSGSIZE',
    })
    await sender.call('send', { to, size: 4000, count: 30 })
    let { stats, errors } = await sender.call('look')
    const told = () => errors.reduce((sum, { dropped }) => sum + dropped, 0)
    // The event comes after the promise; its absence shows when the test's time is over.
    while (told() < 30) ({ stats, errors } = await sender.call('look'))
    expect(told()).toBe(30)
    expect(new Set(errors.map(({ cause }) => cause))).toEqual(new Set(['EMSGSIZE']))
    expect(stats).toMatchObject({ datagramsSent: 0, droppedBySystem: 31 })
    const after = (await sender.call('send', { to, size: 1472, count: 40 })).stats
    expect(await arrived(receiver, 40)).toEqual(upTo(40))
    expect(after.sendCalls - stats.sendCalls).toBe(1)
  })

  it('where there is no route a datagram is refused with an error that says so', async () => {
    const { sender, to } = await network()
    expect(await sender.call('sendOne', { to: { ...to, address: '203.0.113.9' }, size: 10 })).toEqual({
      code: 'ERR_SNAPTUN_UNREACHABLE',
      cause: 'ENETUNREACH',
    })
  })

  it('that is slow a sender waits, and loses nothing', async () => {
    const options = { sendBufferSize: 16_384, sendQueue: { packets: 50 } }
    const { one, sender, receiver, to } = await network({ options })
    await one.run([
      'tc',
      'qdisc',
      'add',
      'dev',
      UPLINK,
      'root',
      'tbf',
      'rate',
      '20mbit',
      'burst',
      '70kb',
      'limit',
      '10mb',
    ])
    // What the bucket lets through at once, what the kernel and the train hold, and the queue: then it is full.
    const { taken, queued } = await sender.call('fill', { to, size: 1200, most: 2000 })
    expect(taken).toBeGreaterThan(50)
    expect(taken).toBeLessThan(500)
    expect(queued).toBe(50)
    expect(await arrived(receiver, taken)).toEqual(upTo(taken))
    const { took, stats } = await sender.call('send', { to, size: 1200, count: 1000 })
    expect(await arrived(receiver, 1000)).toEqual(upTo(1000))
    // 1.2 MB at 20 Mbit/s are 0.48 s, less what is under way at the end.
    expect(took).toBeGreaterThan(300)
    expect(stats.droppedBySystem).toBe(0)
  })
})
