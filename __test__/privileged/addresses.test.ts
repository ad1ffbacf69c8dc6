import { generatePrivateKey } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { keyPair } from '../helpers.js'
import { Host, link, privileged } from '../network.js'

const IPV4 = ['10.87.1.1', '10.87.1.2', '10.87.7.1']
const IPV6 = ['fd87:1::1', 'fd87:1::2', 'fd87:7::1']

/** A host with several addresses on one interface, and a client that reaches them all. */
async function network(): Promise<{ server: Host; client: Host }> {
  const [server, client] = [await Host.start(), await Host.start()]
  await link(
    {
      host: server,
      name: 'downlink',
      addresses: [...IPV4.map((address) => `${address}/24`), ...IPV6.map((address) => `${address}/64`)],
    },
    { host: client, name: 'uplink', addresses: ['10.87.1.9/24', 'fd87:1::9/64'] },
  )
  await client.ip('route add 10.87.7.0/24 dev uplink')
  await client.ip('-6 route add fd87:7::/64 dev uplink')
  return { server, client }
}

describe.skipIf(!privileged)('a server on all addresses (needs root: SNAPTUN_PRIVILEGED=1)', () => {
  it.each([
    { name: 'of IPv4', options: { address: '0.0.0.0' }, written: IPV4 },
    { name: 'of IPv6', options: { address: '::', ipv6Only: true }, written: IPV6 },
    { name: 'of both', options: { address: '::' }, written: [...IPV4, ...IPV6] },
    { name: 'of both, with shards', options: { address: '::', shards: 3 }, written: [...IPV4, ...IPV6] },
    {
      name: 'of both, with shards behind one socket',
      options: { address: '::', shards: 3, reusePort: false },
      written: [...IPV4, ...IPV6],
    },
  ])('$name answers from the one that was written to', async ({ options, written }) => {
    const { server, client } = await network()
    const keys = written.map(keyPair)
    const authorized = keys.map(({ identity }) => identity)
    const own = { privateKey: generatePrivateKey(), authorized }
    const { address, publicKey } = await server.peer.call('listen', { ...own, ...options })
    for (const [i, host] of written.entries()) {
      const { tunnel, localAddress } = await client.peer.call('connect', {
        privateKey: keys[i]?.privateKey,
        server: { address: host, port: address.port },
        serverPublicKey: publicKey,
        // The first attempt has to do.
        connectTimeout: 3000,
      })
      // Mapped addresses (::ffff:10.87.1.9) are IPv4 to everybody.
      expect(localAddress.family).toBe(host.includes(':') ? 'IPv6' : 'IPv4')
      expect(await client.peer.call('paced', { tunnel, rate: 500, seconds: 0.1 })).toMatchObject({ lost: 0 })
      const stats = await client.peer.call('clientStats', { tunnel })
      expect(stats.droppedForeign).toBe(0)
      expect(stats.packetsReceived).toBeGreaterThan(10)
    }
    const { tunnels } = await server.peer.call('look')
    expect(tunnels.map(({ identity }) => identity).sort()).toEqual(authorized.sort())
    expect(tunnels.filter(({ remote }) => remote.address.startsWith('::ffff'))).toEqual([])
  })
})
