/**
 * What an application can see of its server: tunnels, counters, events, diagnostics channels.
 */
import diagnosticsChannel from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { DiagnosticsMessages, ServerTunnel, TunnelCloseReason } from 'snaptun'
import { describe, expect, it } from 'vitest'
import { connect, echoed, keyPair, listen, rejection } from './helpers.js'

/** Subscribes to a channel and collects what it says. */
function collect<Name extends keyof DiagnosticsMessages>(
  name: Name,
): { messages: DiagnosticsMessages[Name][]; end(): void } {
  const messages: DiagnosticsMessages[Name][] = []
  const listener = (message: unknown): void => {
    messages.push(message as DiagnosticsMessages[Name])
  }
  diagnosticsChannel.subscribe(`snaptun:${name}`, listener)
  return { messages, end: () => diagnosticsChannel.unsubscribe(`snaptun:${name}`, listener) }
}

describe('a kernel that gives smaller socket buffers than it was asked for', () => {
  it('is told of once a server, whatever the number of its sockets', async () => {
    const { messages, end } = collect('socketbuffer')
    // What no system gives by default.
    const asked = 2 ** 30
    const server = await listen({ socketBufferSize: asked, shards: 2 })
    await listen({ socketBufferSize: 65_536 })
    end()
    expect(messages).toEqual([{ server, asked, receive: expect.any(Number), send: expect.any(Number) }])
    const [{ receive }] = messages as [(typeof messages)[0]]
    expect(receive).toBeGreaterThanOrEqual(65_536)
    expect(receive).toBeLessThan(asked)
  })
})

describe("a server's tunnel", () => {
  it('is found by its address, and counts what passes through it', async () => {
    const { server, tunnel } = await echoed('127.0.0.1')
    const before = Date.now()
    for (const length of [10, 20, 30]) {
      await tunnel.send(Buffer.alloc(length, 1))
      await tunnel.recv()
    }
    const seen = server.tunnel(tunnel.localAddress) as ServerTunnel
    expect(seen.remote).toEqual(tunnel.localAddress)
    expect(seen.stats()).toEqual({ packetsReceived: 3, bytesReceived: 60, packetsSent: 3, bytesSent: 60 })
    expect(seen.lastHandshakeAt).toBeLessThanOrEqual(before)
    expect(seen.lastHandshakeAt).toBeGreaterThan(before - 5000)
    expect(server.tunnel({ address: '127.0.0.1', port: 1 })).toBeUndefined()
    const closed = once(server, 'tunnelclose')
    seen.close()
    await closed
    expect(server.tunnel(tunnel.localAddress)).toBeUndefined()
    expect(seen.lastHandshakeAt).toBeNull()
    expect(seen.stats().packetsReceived).toBe(3)
  })

  it('is one of so many that an identity may hold, and those beyond are refused', async () => {
    const { privateKey, identity } = keyPair()
    const server = await listen({ maxTunnelsPerIdentity: 2 })
    server.authorize(identity, {})
    await connect(server, { privateKey })
    await connect(server, { privateKey })
    await rejection(connect(server, { privateKey, connectTimeout: 400 }), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
    expect(server.stats()).toMatchObject({ handshakesAtCapacity: 1, tunnels: 2 })
    const other = keyPair()
    server.authorize(other.identity, {})
    await connect(server, { privateKey: other.privateKey })
  })
})

describe('diagnostics channels', () => {
  it('tell of tunnels that open and close', async () => {
    const [opened, closed] = [collect('tunnel'), collect('tunnelclose')]
    try {
      const { privateKey, identity } = keyPair()
      const server = await listen({ authorize: () => ({ session: 'ada' }) })
      const [[tunnel]] = (await Promise.all([once(server, 'tunnel'), connect(server, { privateKey })])) as [
        [ServerTunnel],
        unknown,
      ]
      expect(opened.messages).toEqual([{ server, tunnel }])
      expect(tunnel.identity).toBe(identity)
      const gone = once(server, 'tunnelclose')
      await server.revoke(identity)
      const [, reason] = (await gone) as [ServerTunnel, TunnelCloseReason]
      expect(reason).toBe('revoked')
      expect(closed.messages).toEqual([{ server, tunnel, reason }])
    } finally {
      opened.end()
      closed.end()
    }
  })

  it('and the event tell of clients that may not pass', async () => {
    const refused = collect('unauthorized')
    try {
      const { privateKey, identity } = keyPair()
      const server = await listen({ authorize: () => null })
      const events: unknown[][] = []
      server.on('unauthorized', (...event) => events.push(event))
      await rejection(connect(server, { privateKey, connectTimeout: 300 }), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
      // The refusal still stands: nobody is asked, and the server says so again.
      await rejection(connect(server, { privateKey, connectTimeout: 300 }), 'ERR_SNAPTUN_CONNECT_TIMEOUT')
      const remote = { address: '127.0.0.1', port: expect.any(Number), family: 'IPv4' }
      expect(events).toEqual([
        [identity, remote],
        [identity, remote],
      ])
      expect(refused.messages).toEqual([
        { server, identity, remote },
        { server, identity, remote },
      ])
      expect(server.stats()).toMatchObject({ handshakesRefused: 2, tunnels: 0 })
    } finally {
      refused.end()
    }
  })
})
