/**
 * What the tests of `UdpBatchSocket` share: sockets of their own for each test, closed when it ends, however it ends.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { type Datagram, UdpBatchSocket, type UdpBindOptions } from 'snaptun'
import { onTestFinished } from 'vitest'

/** A socket on a free port of a loopback address. */
export async function bind(options: UdpBindOptions = {}): Promise<UdpBatchSocket> {
  const socket = await UdpBatchSocket.bind({ address: '127.0.0.1', ...options })
  onTestFinished(() => socket.close())
  return socket
}

/** Two of them. */
export async function pair(options: UdpBindOptions = {}): Promise<[UdpBatchSocket, UdpBatchSocket]> {
  return [await bind(options), await bind(options)]
}

/** A socket of Node's own. */
export async function dgram(address = '127.0.0.1'): Promise<{
  socket: Socket
  port: number
  /** The next datagram. */
  next(): Promise<{ data: Buffer; remote: RemoteInfo }>
}> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  onTestFinished(() => new Promise<void>((resolve) => socket.close(() => resolve())))
  const waiting: { data: Buffer; remote: RemoteInfo }[] = []
  socket.on('message', (data, remote) => {
    waiting.push({ data, remote })
    socket.emit('queued')
  })
  socket.bind(0, address)
  await once(socket, 'listening')
  const next = async () => {
    while (waiting.length === 0) await once(socket, 'queued')
    return waiting.shift() as { data: Buffer; remote: RemoteInfo }
  }
  return { socket, port: socket.address().port, next }
}

/** The next `count` datagrams. */
export async function receive(socket: UdpBatchSocket, count: number): Promise<Datagram[]> {
  const datagrams: Datagram[] = []
  while (datagrams.length < count) datagrams.push(await socket.recv())
  return datagrams
}
