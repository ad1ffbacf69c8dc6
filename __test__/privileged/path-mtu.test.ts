import { setTimeout as sleep } from 'node:timers/promises'
import { generatePrivateKey } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { privileged, ROUTED, routed } from '../network.js'
import { MARGIN, TICK } from '../recovery-times.js'

/** How often a tunnel asks the system for the MTU of its path. */
const LOOK = 5000
const ETHERNET = 1500
const NARROW = 1300
/** The headers of IP and UDP, and what a datagram has beyond its packet: 16 bytes of header and 16 of tag. */
const OVERHEAD = { IPv4: 20 + 8 + 32, IPv6: 40 + 8 + 32 } as const

/** A client with a tunnel to a server behind a router. */
async function scene(family: keyof typeof ROUTED) {
  const { client, router, server } = await routed()
  const address = ROUTED[family].server
  const listening = await server.peer.call('listen', { privateKey: generatePrivateKey(), address })
  const access = { server: listening.address, serverPublicKey: listening.publicKey }
  const { tunnel } = await client.peer.call('connect', access)
  const look = () => client.peer.call('maxPacketSize', { tunnel })
  const events = () => client.peer.call('clientEvents', { tunnel })
  /** Waits for the `count`th event, the last one; returns when that was. */
  const told = async (count: number, maxPacketSize: number, timeout: number): Promise<number> => {
    for (const end = Date.now() + timeout; (await events()).length < count && Date.now() < end; ) await sleep(20)
    const all = await events()
    expect(all).toHaveLength(count)
    expect(all.at(-1)).toMatchObject({ name: 'mtu', args: [maxPacketSize] })
    expect(await look()).toBe(maxPacketSize)
    return all.at(-1)?.at as number
  }
  return { client, router, server, tunnel, look, told }
}

describe.skipIf(!privileged).each(['IPv4', 'IPv6'] as const)(
  'on a path over %s whose MTU changes (needs root: SNAPTUN_PRIVILEGED=1)',
  (family) => {
    const [wide, narrow] = [ETHERNET - OVERHEAD[family], NARROW - OVERHEAD[family]]

    it('a tunnel learns from a router that packets have to be smaller', async () => {
      const { client, router, server, tunnel, look, told } = await scene(family)
      expect(await look()).toBe(wide)
      await client.peer.call('knock', { tunnel, size: wide, timeout: 5000 })
      await router.ip(`link set outside mtu ${NARROW}`)
      await server.ip(`link set downlink mtu ${NARROW}`)
      const narrowed = Date.now()
      // The router drops it, and says what it would take.
      expect(await client.peer.call('send', { tunnel, sizes: [wide] })).toEqual(['sent'])
      const at = await told(1, narrow, LOOK + TICK + MARGIN)
      expect(at - narrowed).toBeLessThan(LOOK + TICK + MARGIN)
      const fates = await client.peer.call('send', { tunnel, sizes: [narrow + 1, wide] })
      expect(fates).toEqual(Array(2).fill('ERR_SNAPTUN_PACKET_TOO_LARGE'))
      await client.peer.call('knock', { tunnel, size: narrow, timeout: 5000 })
      expect(await client.peer.call('clientStats', { tunnel })).toMatchObject({ handshakes: 1, socketErrors: 0 })
    })

    it('a tunnel follows its own interface, down at once and up again', async () => {
      const { client, tunnel, told } = await scene(family)
      await client.ip(`link set uplink mtu ${NARROW}`)
      const narrowed = Date.now()
      const before = await client.peer.call('clientStats', { tunnel })
      // The system refuses it, upon which the path is looked at.
      await client.peer.call('send', { tunnel, sizes: [wide] })
      const at = await told(1, narrow, TICK + MARGIN)
      expect(at - narrowed).toBeLessThan(TICK + MARGIN)
      const { droppedBySystem } = await client.peer.call('clientStats', { tunnel })
      expect(droppedBySystem - before.droppedBySystem).toBeLessThanOrEqual(1)
      await client.peer.call('knock', { tunnel, size: narrow, timeout: 5000 })

      await client.ip(`link set uplink mtu ${ETHERNET}`)
      await told(2, wide, LOOK + TICK + MARGIN)
      await client.peer.call('knock', { tunnel, size: wide, timeout: 5000 })
    })
  },
)
