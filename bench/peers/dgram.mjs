/**
 * What Node has by itself: `node:dgram`, in clear or with packets that are sealed by `node:crypto`. Written to be as fast
 * as it gets: sockets are connected, which spares a look-up for each packet, and nothing is sent with a callback.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { say, task, toldToEnd } from './peer.mjs'
import { clear, sealed } from './seal.mjs'
import { Meter, PingPong, Source } from './traffic.mjs'

/** Milliseconds between two attempts to be heard by the server. */
const HELLO_INTERVAL = 100
/** How many of them there are. */
const HELLOS = 50
/** Packets sent between two turns of the event loop. */
const BURST = 256

const options = task()
const { role, workload, size, seconds, count } = options
const HELLO = Buffer.from('hello')
const channel = options.key === undefined ? clear() : sealed(Buffer.from(options.key, 'base64'), role)

function open() {
  return createSocket({ type: 'udp4', recvBufferSize: options.socketBuffer, sendBufferSize: options.socketBuffer })
}

/** Calls `packet` for each packet that arrives, and `batchEnd` when those that came at once were seen. */
function receive(socket, packet, batchEnd) {
  let scheduled = false
  const end = () => {
    scheduled = false
    batchEnd()
  }
  socket.on('message', (datagram) => {
    const opened = channel.open(datagram)
    if (opened === undefined) return
    packet(opened)
    if (!scheduled) {
      scheduled = true
      setImmediate(end)
    }
  })
}

/** Sends as fast as it goes until `until` says no. Returns how many packets. */
async function flood(socket, until) {
  const source = new Source(size, BURST)
  const packets = Array.from({ length: BURST }, (_, at) => source.data.subarray(at * size, (at + 1) * size))
  while (until()) {
    source.fill()
    for (const packet of packets) socket.send(channel.seal(packet))
    // What the system did not take at once waits in this queue, which must not grow without bound.
    do await turn()
    while (socket.getSendQueueCount() > 0)
  }
  return source.next
}

async function serve() {
  const ended = toldToEnd()
  const socket = open()
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { address, port } = socket.address()
  const connected = (async () => {
    const [, remote] = await once(socket, 'message')
    socket.connect(remote.port, remote.address)
    await once(socket, 'connect')
    socket.send(HELLO)
  })()
  say({ listening: `${address}:${port}` })
  const meter = new Meter(size)
  let running = true
  let sent
  connected.then(async () => {
    if (workload === 'upload') {
      receive(
        socket,
        (packet) => meter.packet(packet),
        () => meter.batchEnd(),
      )
    } else if (workload === 'echo') {
      socket.on('message', (datagram) => {
        const packet = channel.open(datagram)
        if (packet !== undefined) socket.send(channel.seal(packet))
      })
    } else {
      // A client that has ended answers with an error; this server is about to be told.
      socket.on('error', () => undefined)
      sent = await flood(socket, () => running)
    }
  })
  await ended
  running = false
  await turn()
  say(workload === 'download' ? { packets: sent ?? 0 } : meter.report())
  socket.close()
}

async function connect() {
  const socket = open()
  const [host, port] = options.server.split(':')
  socket.connect(Number(port), host)
  await once(socket, 'connect')
  const answer = once(socket, 'message', { signal: AbortSignal.timeout(HELLOS * HELLO_INTERVAL) })
  const hello = setInterval(() => socket.send(HELLO), HELLO_INTERVAL)
  socket.send(HELLO)
  await answer
  clearInterval(hello)
  say(await { upload, download, echo }[workload](socket))
  socket.close()
}

async function upload(socket) {
  const start = performance.now()
  const end = start + seconds * 1000
  const packets = await flood(socket, () => performance.now() < end)
  return { packets, seconds: (performance.now() - start) / 1000 }
}

function download(socket) {
  const meter = new Meter(size)
  return new Promise((resolve) => {
    receive(
      socket,
      (packet) => {
        if (meter.packets === 0) setTimeout(() => resolve(meter.report()), seconds * 1000)
        meter.packet(packet)
      },
      () => meter.batchEnd(),
    )
  })
}

function echo(socket) {
  return new Promise((resolve) => {
    const pingPong = new PingPong(size, count, (packet) => socket.send(channel.seal(packet)))
    socket.on('message', (datagram) => {
      const packet = channel.open(datagram)
      if (packet !== undefined) pingPong.back(packet)
    })
    pingPong.finished.then(() => resolve(pingPong.report()))
    pingPong.start()
  })
}

await (role === 'server' ? serve() : connect())
