/**
 * What Node has by itself: `node:dgram`, in clear or with packets that are sealed by `node:crypto`. Written to be as fast
 * as it gets: sockets are connected where there is one client, which spares a look-up for each packet, and nothing is sent
 * with a callback.
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
const { role, kind, size, tunnels, seconds, socketBuffer } = options
/** Shorter than any packet. */
const HELLO = Buffer.from('hello')
/** One for all sockets of this side: a number is used once, whichever socket it goes through. */
const channel = options.key === undefined ? clear() : sealed(Buffer.from(options.key, 'base64'), role)

function open() {
  return createSocket({
    type: 'udp4',
    recvBufferSize: socketBuffer,
    sendBufferSize: socketBuffer,
    // Addresses are literals; the usual look-up would make each datagram wait for a turn of the loop.
    lookup: (host, _, callback) => callback(null, host, 4),
  })
}

/** Settles when a socket has one peer. */
function connected(socket, port, address) {
  // Listened for before: with that look-up it happens at once.
  const done = once(socket, 'connect')
  socket.connect(port, address)
  return done
}

/** Calls `packet` for each packet that arrives. */
function receiveEach(socket, packet) {
  socket.on('message', (datagram) => {
    const opened = datagram.length === HELLO.length ? undefined : channel.open(datagram)
    if (opened !== undefined) packet(opened)
  })
}

/** The same, and calls `batchEnd` when those that came at once were seen. */
function receive(socket, packet, batchEnd) {
  let scheduled = false
  const end = () => {
    scheduled = false
    batchEnd()
  }
  receiveEach(socket, (opened) => {
    packet(opened)
    if (!scheduled) {
      scheduled = true
      setImmediate(end)
    }
  })
}

/**
 * Sends to all in turn, as fast as it goes, until `until` says no. A target is a socket, and port and address where it is not
 * connected. Returns how many packets.
 */
async function flood(targets, until) {
  const source = new Source(size, BURST, tunnels)
  const packets = Array.from({ length: BURST }, (_, at) => source.data.subarray(at * size, (at + 1) * size))
  for (let at = 0; until(); at = (at + 1) % targets.length) {
    const { socket, port, address } = targets[at]
    source.fill(at)
    for (const packet of packets) socket.send(channel.seal(packet), port, address)
    // What the system did not take at once waits in this queue, which must not grow without bound.
    do await turn()
    while (socket.getSendQueueCount() > 0)
  }
  return source.made
}

/** Settles with all clients, when each has been heard of. Answers them. */
function clients(socket) {
  const known = new Map()
  return new Promise((resolve) => {
    socket.on('message', function hear(datagram, { port, address }) {
      if (datagram.length !== HELLO.length || known.has(port)) return
      known.set(port, { socket, port, address })
      if (known.size < tunnels) return
      socket.off('message', hear)
      resolve([...known.values()])
    })
  })
}

async function serve() {
  const ended = toldToEnd()
  const socket = open()
  const listening = once(socket, 'listening')
  socket.bind(0, '127.0.0.1')
  await listening
  const { address, port } = socket.address()
  const meter = new Meter(size, tunnels)
  let running = true
  let sending
  clients(socket).then(async (all) => {
    let targets = all
    if (all.length === 1) {
      await connected(socket, all[0].port, all[0].address)
      targets = [{ socket }]
    }
    // Clients that have ended answer with an error; this server is about to be told.
    socket.on('error', () => undefined)
    if (kind === 'echo') {
      receiveEach(socket, (packet) => socket.send(channel.seal(packet)))
    } else if (kind !== 'download') {
      receive(
        socket,
        (packet) => meter.packet(packet),
        () => meter.batchEnd(),
      )
    }
    for (const { socket, port, address } of targets) socket.send(HELLO, port, address)
    if (kind === 'download' || kind === 'both') sending = flood(targets, () => running)
  })
  say({ listening: `${address}:${port}` })
  await ended
  running = false
  const sent = await sending
  say(kind === 'download' ? { packets: sent ?? 0 } : meter.report())
  socket.close()
}

/** A socket that the server has heard of. */
async function heard() {
  const socket = open()
  const [host, port] = options.server.split(':')
  await connected(socket, Number(port), host)
  const answer = once(socket, 'message', { signal: AbortSignal.timeout(HELLOS * HELLO_INTERVAL) })
  const hello = setInterval(() => socket.send(HELLO), HELLO_INTERVAL)
  socket.send(HELLO)
  await answer
  clearInterval(hello)
  return { socket }
}

async function connect() {
  const all = await Promise.all(Array.from({ length: tunnels }, heard))
  say(await { upload, download, both: (them) => download(them, true), echo }[kind](all))
  for (const { socket } of all) socket.close()
}

async function upload(all) {
  const start = performance.now()
  const end = start + seconds * 1000
  const packets = await flood(all, () => performance.now() < end)
  return { packets, seconds: (performance.now() - start) / 1000 }
}

/** Counts what arrives, from the first packet on, and sends beside it if `both`. */
async function download(all, both) {
  const meter = new Meter(size, tunnels)
  let running = true
  const counted = new Promise((resolve) => {
    for (const { socket } of all) {
      receive(
        socket,
        (packet) => {
          if (meter.packets === 0) setTimeout(resolve, seconds * 1000)
          meter.packet(packet)
        },
        () => meter.batchEnd(),
      )
    }
  })
  const sending = both ? flood(all, () => running) : undefined
  await counted
  const report = meter.report()
  running = false
  await sending
  return report
}

function echo([{ socket }]) {
  return new Promise((resolve) => {
    const pingPong = new PingPong(options, (packet) => socket.send(channel.seal(packet)))
    receiveEach(socket, (packet) => {
      pingPong.back(packet)
      pingPong.refill()
    })
    pingPong.finished.then(() => resolve(pingPong.report()))
    pingPong.start()
  })
}

await (role === 'server' ? serve() : connect())
