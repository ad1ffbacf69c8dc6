/**
 * `UdpBatchSocket`, in the form that is the fastest it has.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { UdpBatchSocket } from '../../dist/index.js'
import { play } from './datagrams.mjs'
import { Source } from './traffic.mjs'

/** Datagrams handed over in one call: three for each of 64 targets; to one target three system calls, or four at 1,200 bytes. */
const BATCH = 192
/** Milliseconds after which a sender that always finds room lets its event loop turn. */
const TURN_BUDGET = 3

async function receive({ socketBuffer }, meter, ready, ended) {
  const socket = await UdpBatchSocket.bind({ receiveBufferSize: socketBuffer })
  ended.then(() => socket.close())
  ready(socket.address().port)
  for await (const batch of socket.batches()) {
    for (let i = 0; i < batch.length; i++) meter.packet(batch.data(i))
    meter.batchEnd()
  }
}

async function send({ size, socketBuffer }, targets, until) {
  const socket = await UdpBatchSocket.bind({ sendBufferSize: socketBuffer })
  const source = new Source(size, BATCH)
  const batch = { data: source.data, size }
  const to = targets.length === 1 ? targets[0] : Array.from({ length: BATCH }, (_, at) => targets[at % targets.length])
  let turned = performance.now()
  for (let now = turned; until(now); now = performance.now()) {
    if (now - turned > TURN_BUDGET) {
      await turn()
      turned = performance.now()
    }
    source.fill()
    await socket.sendBatch(batch, to)
  }
  const { datagramsSent, sendCalls } = socket.stats()
  await socket.close()
  return { packets: source.made, datagramsSent, sendCalls }
}

await play(receive, send)
