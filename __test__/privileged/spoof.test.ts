import { generatePrivateKey } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { capture, type FloodKind, type FloodOptions, flood, hex } from '../flood-tool.js'
import { keyPair } from '../helpers.js'
import { Host, link, privileged } from '../network.js'
import type { ServerLook } from '../peer-process.js'

const SERVER = '10.87.1.1'
const VICTIM = '10.87.1.2'
const SPOOFER = '10.87.2.2'

/**
 * A server, a victim with a tunnel, and a spoofer on another link, from where the server takes any source address: so
 * the spoofer can send as whoever it likes, and the answers go elsewhere.
 */
async function scene() {
  const [server, victim, spoofer] = [await Host.start(), await Host.start(), await Host.start()]
  await link(
    { host: victim, name: 'uplink', addresses: [`${VICTIM}/24`] },
    { host: server, name: 'downlink', addresses: [`${SERVER}/24`] },
  )
  await link(
    { host: spoofer, name: 'uplink', addresses: [`${SPOOFER}/24`] },
    { host: server, name: 'sidelink', addresses: ['10.87.2.1/24'] },
  )
  await spoofer.ip('route add default via 10.87.2.1')
  // For answers to addresses that nobody has.
  await server.ip(`route add default via ${SPOOFER}`)
  // An interface takes the stricter of its own setting and that for all (Documentation/networking/ip-sysctl).
  for (const name of ['all', 'sidelink']) await server.set(`net/ipv4/conf/${name}/rp_filter`, '0')

  const keys = { victim: keyPair(), spoofer: keyPair() }
  const { address, publicKey } = await server.peer.call('listen', {
    privateKey: generatePrivateKey(),
    authorized: [keys.victim.identity, keys.spoofer.identity],
  })
  const access = { server: { address: SERVER, port: address.port }, serverPublicKey: publicKey }
  const { initiation } = await capture(address.port, victim.front)
  const connected = await victim.peer.call('connect', { ...access, privateKey: keys.victim.privateKey })
  const look = () => server.peer.call('look')
  return {
    ...{ server, spoofer, victim, keys, access, connected, look },
    /** The victim's initiation, as it went over the wire. */
    initiation: await initiation,
    /** Floods from the spoofer's place, with forged addresses. */
    spoof: (kind: FloodKind, options: Partial<FloodOptions>) => {
      const to = `${SERVER}:${address.port}`
      return flood(kind, { to, 'server-public-key': hex(publicKey), ...options }, spoofer.front)
    },
  }
}

/** How much a counter grew. */
const grown = (from: ServerLook, to: ServerLook, name: keyof ServerLook['stats']) => to.stats[name] - from.stats[name]

describe.skipIf(!privileged)(
  'one who can send from any address, but not receive there (needs root: SNAPTUN_PRIVILEGED=1)',
  () => {
    it('neither evicts nor disturbs the tunnel that holds an address', async () => {
      const { victim, keys, connected, spoof, look } = await scene()
      const before = await look()
      expect(before.tunnels).toMatchObject([{ identity: keys.victim.identity, remote: { address: VICTIM } }])

      const as = { forge: `${VICTIM}/32`, 'forge-port': connected.localAddress.port }
      const own = { ...as, 'private-key': hex(keys.spoofer.privateKey) }
      const echoing = victim.peer.call('paced', { tunnel: connected.tunnel, rate: 1000, seconds: 3 })
      // First so few that the server is not under load: what it demands then, it demands of a takeover.
      const few = await spoof('initiations', { ...own, rate: 50, seconds: 0.5 })
      const afterFew = await look()
      expect(grown(before, afterFew, 'handshakeCookies')).toBe(few.sent)
      await spoof('initiations', { ...own, rate: 3000, seconds: 0.5 })
      for (const kind of ['bad-mac', 'cookies', 'lengths', 'data'] as const) {
        const { sent, failed } = await spoof(kind, { ...as, rate: 3000, seconds: 0.3 })
        expect(sent).toBeGreaterThan(0)
        // The largest datagram of all does not pass a raw socket, which cuts nothing into fragments.
        if (kind !== 'lengths') expect(failed).toBe(0)
      }
      const echoed = await echoing
      expect(echoed.lost / echoed.sent).toBeLessThan(0.01)

      const after = await look()
      expect(after.tunnels).toEqual(before.tunnels)
      expect(after.events.map(({ type }) => type)).toEqual(['tunnel'])
      expect(after.stats.tunnels).toBe(1)
      expect(grown(before, after, 'handshakes')).toBe(0)
      expect(grown(before, after, 'handshakesInvalid')).toBeGreaterThan(0)
      expect(grown(before, after, 'droppedInvalid')).toBeGreaterThan(0)
      expect(grown(before, after, 'droppedMalformed')).toBeGreaterThan(0)
      // The victim's address got cookies that it did not ask for, and nothing else beside its packets.
      const { droppedInvalid, packetsReceived } = await victim.peer.call('clientStats', connected)
      expect(packetsReceived).toBe(echoed.sent - echoed.lost)
      expect(droppedInvalid).toBeLessThanOrEqual(after.stats.handshakeCookies)
    })

    it('gets its own tunnel at its own address meanwhile', async () => {
      const { spoofer, keys, access, connected, spoof, look } = await scene()
      const own = { 'private-key': hex(keys.spoofer.privateKey) }
      await spoof('initiations', { ...own, forge: `${VICTIM}/32`, 'forge-port': connected.localAddress.port, rate: 50 })
      await spoofer.peer.call('connect', { ...access, privateKey: keys.spoofer.privateKey })
      const { tunnels } = await look()
      expect(tunnels.map(({ identity }) => identity)).toEqual([keys.victim.identity, keys.spoofer.identity])
    })

    it('gets nothing for an initiation that it captured, from whichever address it is replayed', async () => {
      const { server, victim, connected, initiation, spoof, look } = await scene()
      const before = await look()
      const replay = { datagram: initiation, rate: 50, seconds: 0.2 }
      const reports = [
        await spoof('replay', replay),
        await spoof('replay', { ...replay, forge: '10.99.0.0/16' }),
        await spoof('replay', { ...replay, forge: `${VICTIM}/32`, 'forge-port': connected.localAddress.port }),
      ]
      const echoed = await victim.peer.call('paced', { tunnel: connected.tunnel, rate: 500, seconds: 0.2 })
      expect(echoed.lost).toBe(0)
      const after = await look()
      expect(grown(before, after, 'handshakesReplayed')).toBe(reports.reduce((sum, { sent }) => sum + sent, 0))
      expect(grown(before, after, 'handshakes')).toBe(0)
      expect(after.tunnels).toEqual(before.tunnels)
      expect(after.stats.tunnels).toBe(1)

      // Nor when the tunnel that it once made is gone.
      await server.peer.call('closeTunnels')
      const { sent } = await spoof('replay', replay)
      const end = await look()
      expect(grown(after, end, 'handshakesReplayed')).toBe(sent)
      expect(end.stats.tunnels).toBe(0)
    })
  },
)
