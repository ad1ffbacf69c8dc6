/**
 * `node:dgram`, as fast as it gets: connected where there is one target, no look-up for each datagram, no callbacks.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { play } from './datagrams.mjs'
import { Source } from './traffic.mjs'

/** Datagrams sent between two turns of the event loop. */
const BURST = 256

async function receive({ socketBuffer }, meter, ready, ended) {
  const socket = createSocket({ type: 'udp4', recvBufferSize: socketBuffer })
  socket.bind(0)
  await once(socket, 'listening')
  let scheduled = false
  const batchEnd = () => {
    scheduled = false
    meter.batchEnd()
  }
  socket.on('message', (datagram) => {
    meter.packet(datagram)
    if (!scheduled) {
      scheduled = true
      setImmediate(batchEnd)
    }
  })
  ready(socket.address().port)
  await ended
  socket.close()
}

/** A socket that sends; connected if there is one target. */
async function open(socketBuffer, targets) {
  const socket = createSocket({
    type: 'udp4',
    sendBufferSize: socketBuffer,
    // Addresses are literals; the usual look-up would make each datagram wait for a turn of the loop.
    lookup: (host, _, callback) => callback(null, host, 4),
  })
  // Listened for before: with that look-up it happens at once.
  const opened = once(socket, targets.length === 1 ? 'connect' : 'listening')
  if (targets.length === 1) socket.connect(targets[0].port, targets[0].address)
  else socket.bind(0)
  await opened
  return socket
}

async function send({ size, socketBuffer }, targets, until) {
  const socket = await open(socketBuffer, targets)
  const source = new Source(size, BURST)
  const packets = Array.from({ length: BURST }, (_, at) => source.data.subarray(at * size, (at + 1) * size))
  const to = targets.length === 1 ? [{}] : targets
  while (until(performance.now())) {
    source.fill()
    for (let at = 0; at < BURST; at++) {
      const { port, address } = to[at % to.length]
      socket.send(packets[at], port, address)
    }
    // What the system did not take at once waits in this queue, which must not grow without bound.
    do await turn()
    while (socket.getSendQueueCount() > 0)
  }
  socket.close()
  // A system call each, by its nature.
  return { packets: source.made, datagramsSent: source.made, sendCalls: source.made }
}

await play(receive, send)
