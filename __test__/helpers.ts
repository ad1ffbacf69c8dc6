/**
 * What the tests share: a server and a client of their own for each test, closed when it ends, however it ends.
 */
import { createHash } from 'node:crypto'
import {
  type ConnectOptions,
  generatePrivateKey,
  type ListenOptions,
  publicKey,
  SnapTunError,
  SnapTunnel,
  type SnapTunnelEvents,
  SnapTunServer,
  type SocketAddress,
} from 'snaptun'
import { expect, onTestFinished } from 'vitest'

/** A server on a free port of a loopback address, which authorizes everybody unless told otherwise. */
export async function listen<Session = unknown>(
  options: Partial<ListenOptions<Session>> = {},
): Promise<SnapTunServer<Session>> {
  const server = await SnapTunServer.listen<Session>({
    privateKey: generatePrivateKey(),
    address: '127.0.0.1',
    authorize: () => ({}) as never,
    ...options,
  })
  onTestFinished(() => server.close())
  return server
}

/** Options to connect to a server with. */
export function optionsFor(
  server: Pick<SnapTunServer, 'address' | 'publicKey'>,
  options: Partial<ConnectOptions> = {},
): ConnectOptions {
  return {
    privateKey: generatePrivateKey(),
    server: server.address(),
    serverPublicKey: server.publicKey,
    connectTimeout: 5000,
    ...options,
  }
}

/**
 * A client of a server, when both know of each other: the server announces a tunnel with its first datagram, which
 * leaves the client when its `connect` resolves.
 */
export async function connect(
  server: Pick<SnapTunServer, 'address' | 'publicKey' | 'tunnels'>,
  options: Partial<ConnectOptions> = {},
): Promise<SnapTunnel> {
  const tunnel = await SnapTunnel.connect(optionsFor(server, options))
  onTestFinished(() => tunnel.close())
  const { port } = tunnel.localAddress
  await until(() => Array.from(server.tunnels()).some(({ remote }) => remote.port === port), 'the tunnel at the server')
  return tunnel
}

/** A client of a server, connected through a relay or whatever has its address. */
export async function connectThrough(
  relay: { readonly address: SocketAddress },
  server: Pick<SnapTunServer, 'publicKey' | 'tunnels'>,
  options: Partial<ConnectOptions> = {},
): Promise<SnapTunnel> {
  const tunnel = await SnapTunnel.connect({
    privateKey: generatePrivateKey(),
    server: relay.address,
    serverPublicKey: server.publicKey,
    connectTimeout: 5000,
    ...options,
  })
  onTestFinished(() => tunnel.close())
  await until(() => server.tunnels().next().done === false, 'the tunnel at the server')
  return tunnel
}

/** Every event of a tunnel from now on, with its arguments, as it comes. */
export function watch(tunnel: SnapTunnel): readonly (readonly [name: keyof SnapTunnelEvents, ...args: unknown[]])[] {
  const events: [name: keyof SnapTunnelEvents, ...args: unknown[]][] = []
  for (const name of ['reconnecting', 'reconnected', 'addresschange', 'mtu', 'close'] as const) {
    tunnel.on(name, (...args: unknown[]) => events.push([name, ...args]))
  }
  return events
}

/** A key pair. */
export function keyPair(): { privateKey: string; identity: string } {
  const privateKey = generatePrivateKey()
  return { privateKey, identity: publicKey(privateKey) }
}

/** Bytes that look random, but are the same for the same seed and size. */
export function bytes(seed: number, size: number): Buffer {
  const block = createHash('shake256', { outputLength: Math.min(size, 4096) })
    .update(`${seed}`)
    .digest()
  return Buffer.alloc(size, block)
}

/** Echoes every packet to where it came from, until the server closes, which may be between receiving and sending. */
export async function echo(server: SnapTunServer<never>): Promise<void> {
  for await (const batch of server.batches()) {
    await server.sendBatch(batch).catch((error: SnapTunError) => {
      if (error.code !== 'ERR_SNAPTUN_CLOSED') throw error
    })
  }
}

/** A server that echoes, and a client of it. */
export async function echoed(
  address = '127.0.0.1',
  options: Partial<ConnectOptions> = {},
): Promise<{ server: SnapTunServer; tunnel: SnapTunnel }> {
  const server = await listen({ address })
  void echo(server as never)
  return { server, tunnel: await connect(server, options) }
}

/** A packet as text. */
export const text = (packet: Uint8Array): string => Buffer.from(packet).toString()

/** Awaits a rejection with one of this package's errors, and returns the error. */
export async function rejection(promise: Promise<unknown>, code: string): Promise<SnapTunError> {
  const error = await promise.then(
    () => expect.fail(`should have rejected with ${code}`),
    (reason: unknown) => reason,
  )
  return coded(error, code)
}

/** Expects a throw of one of this package's errors, and returns the error. */
export function thrown(call: () => unknown, code: string): SnapTunError {
  try {
    call()
  } catch (error) {
    return coded(error, code)
  }
  return expect.fail(`should have thrown ${code}`)
}

function coded(error: unknown, code: string): SnapTunError {
  expect(error).toBeInstanceOf(SnapTunError)
  expect(error).toMatchObject({ name: 'SnapTunError', code })
  return error as SnapTunError
}

/** Tries to connect as somebody whom the server refuses. */
export async function refused(server: SnapTunServer<never>, options: Partial<ConnectOptions> = {}): Promise<void> {
  const attempt = SnapTunnel.connect(optionsFor(server, { connectTimeout: 300, ...options }))
  await rejection(attempt, 'ERR_SNAPTUN_CONNECT_TIMEOUT')
}

/** Waits until something is so; looks every few milliseconds. */
export async function until(condition: () => boolean, what: string, timeout = 5000): Promise<void> {
  const end = performance.now() + timeout
  while (!condition()) {
    if (performance.now() > end) expect.fail(`${what} did not come within ${timeout} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
