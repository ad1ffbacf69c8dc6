/**
 * A NAT that gives a client another port: here a relay that does; with a real one in privileged/nat.test.ts.
 */
import type { SocketAddress } from 'snaptun'
import { expect, it } from 'vitest'
import { connectThrough, echo, listen, rejection, text, until, watch } from './helpers.js'
import { LIVENESS, MARGIN, TICK } from './recovery-times.js'
import { Relay } from './relay.js'

/** A client behind a relay, and how the server sees it. */
async function scene(options: object) {
  const server = await listen()
  void echo(server as never)
  const relay = await Relay.start(server.address())
  const tunnel = await connectThrough(relay, server, { livenessTimeout: LIVENESS, ...options })
  const seen = (): SocketAddress => ({ address: '127.0.0.1', port: relay.port, family: 'IPv4' })
  expect(tunnel.localAddress).toEqual(seen())
  return { server, relay, tunnel, events: watch(tunnel), seen }
}

it(`by default the tunnel closes within ${LIVENESS + TICK} ms of silence, with both addresses in the error`, async () => {
  const { relay, tunnel, events, seen } = await scene({})
  const receiving = rejection(tunnel.recv(), 'ERR_SNAPTUN_ADDRESS_CHANGED')
  const before = seen()
  await relay.rebind()
  const rebound = performance.now()
  const error = await receiving
  expect(performance.now() - rebound).toBeLessThan(LIVENESS + TICK + MARGIN)
  expect(error.message).toContain(`127.0.0.1:${before.port}`)
  expect(error.message).toContain(`127.0.0.1:${seen().port}`)
  await until(() => events.length > 0, 'the event')
  expect(events.at(-1)).toEqual(['close', expect.objectContaining({ code: error.code, message: error.message })])
  expect(events.some(([name]) => name === 'reconnecting')).toBe(false)
  await rejection(tunnel.send(Buffer.from('late')), 'ERR_SNAPTUN_ADDRESS_CHANGED')
})

it("with onAddressChange: 'continue' it goes on, as often as that happens", async () => {
  const { relay, tunnel, events, seen } = await scene({ onAddressChange: 'continue' })
  for (let time = 1; time <= 2; time++) {
    const before = seen()
    await relay.rebind()
    const rebound = performance.now()
    await until(() => events.length === time, 'the event', LIVENESS + TICK + MARGIN)
    expect(performance.now() - rebound).toBeLessThan(LIVENESS + TICK + MARGIN)
    expect(events.at(-1)).toEqual(['addresschange', before, seen()])
    expect(tunnel.localAddress).toEqual(seen())
    await tunnel.send(Buffer.from(`from port ${seen().port}`))
    expect(text(await tunnel.recv())).toBe(`from port ${seen().port}`)
  }
  expect(tunnel.stats().handshakes).toBe(3)
})
