import { setTimeout as sleep } from 'node:timers/promises'
import { generatePrivateKey } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { type Host, privileged, ROUTED, routed } from '../network.js'
import type { ClientEvent, PeerProcess } from '../peer-process.js'
import { LIVENESS, MARGIN, TICK } from '../recovery-times.js'

const { outside, server: SERVER } = ROUTED.IPv4
/** WireGuard's: data was sent and nothing heard for this long (keepalive timeout and rekey timeout). */
const NEW_HANDSHAKE = 15_000

/**
 * Has a router translate what leaves it to one port of its own. Another `generation` is a zone of connection tracking of
 * its own: the router forgets everything that it translated before, as it does when it starts anew.
 */
async function translate(router: Host, port: number, generation: number): Promise<void> {
  await router.nft(`
    table ip nat
    delete table ip nat
    table ip nat {
      chain zones { type filter hook prerouting priority raw; ct zone set ${generation}; }
      chain leaving { type nat hook postrouting priority srcnat; oifname outside meta l4proto udp snat to ${outside}:${port}; }
    }`)
}

/** A client behind a NAT with a tunnel to a server. */
async function scene(options: object) {
  const { client, router, server } = await routed()
  await translate(router, 41_000, 1)
  const listening = await server.peer.call('listen', { privateKey: generatePrivateKey(), address: SERVER })
  const access = { server: listening.address, serverPublicKey: listening.publicKey }
  const { tunnel, localAddress } = await client.peer.call('connect', { ...access, ...options })
  expect(localAddress).toEqual(at(41_000))
  await client.peer.call('knock', { tunnel, timeout: 5000 })
  return { client: client.peer, router, server: server.peer, tunnel }
}

const at = (port: number) => ({ address: outside, port, family: 'IPv4' })

/** Waits until a tunnel has told something, and returns all that it told. */
async function told(client: PeerProcess, tunnel: number, name: ClientEvent['name'], timeout: number) {
  for (const end = Date.now() + timeout; ; await sleep(20)) {
    const events = await client.call('clientEvents', { tunnel })
    if (events.some((event) => event.name === name)) return events
    if (Date.now() > end) expect.fail(`no ${name} within ${timeout} ms, but ${JSON.stringify(events)}`)
  }
}

describe.skipIf(!privileged)('a client whose NAT gives it another port (needs root: SNAPTUN_PRIVILEGED=1)', () => {
  it('has its tunnel closed by default, with both addresses in the error', async () => {
    const { client, router, tunnel } = await scene({ livenessTimeout: LIVENESS })
    await translate(router, 42_000, 2)
    const rebound = Date.now()
    // Nothing is sent: the client has to ask by itself.
    const events = await told(client, tunnel, 'close', LIVENESS + TICK + MARGIN)
    const { args, at: closed } = events.at(-1) as ClientEvent
    expect(args).toEqual([
      { code: 'ERR_SNAPTUN_ADDRESS_CHANGED', message: expect.stringContaining(`${outside}:41000`) },
    ])
    expect(args).toEqual([expect.objectContaining({ message: expect.stringContaining(`${outside}:42000`) })])
    expect(closed - rebound).toBeLessThan(LIVENESS + TICK + MARGIN)
    expect(await client.call('send', { tunnel, sizes: [10] })).toEqual(['ERR_SNAPTUN_ADDRESS_CHANGED'])
  })

  it.each([
    ['with livenessTimeout', { livenessTimeout: LIVENESS }, LIVENESS + TICK],
    ['without', {}, NEW_HANDSHAKE + 2 * TICK],
  ])(
    "goes on with onAddressChange: 'continue', %s",
    async (_name, options, bound) => {
      const { client, router, server, tunnel } = await scene({ ...options, onAddressChange: 'continue' })
      await translate(router, 42_000, 2)
      const rebound = Date.now()
      const { at: mended } = await client.call('knock', { tunnel, timeout: bound + MARGIN })
      expect(mended - rebound).toBeLessThan(bound + MARGIN)
      expect(await client.call('clientEvents', { tunnel })).toEqual([
        { name: 'addresschange', args: [at(41_000), at(42_000)], at: expect.any(Number) },
      ])
      expect(await client.call('paced', { tunnel, rate: 500, seconds: 0.2 })).toMatchObject({ lost: 0, doubled: 0 })
      expect(await client.call('clientStats', { tunnel })).toMatchObject({ handshakes: 2, droppedInvalid: 0 })
      const { tunnels } = await server.call('look')
      expect(tunnels.map(({ remote }) => remote)).toContainEqual(at(42_000))
    },
    40_000,
  )
})
