/**
 * One server; tunnels that echo at a steady rate; and a tunnel, as legitimate as they, that sends without brakes.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { SnapTunnel, SnapTunServer } from '../../dist/index.js'
import { PacedEcho } from './paced.mjs'
import { say, task, toldToEnd } from './peer.mjs'
import { Source } from './traffic.mjs'

/** Packets of the flood, and how many are handed over at once: three full trains. */
const SIZE = 1400
const BATCH = 138
/** Milliseconds after which the flood lets its event loop turn. */
const TURN_BUDGET = 3
/** Milliseconds of flood until everything that can fill is full. */
const FULL = 300
/** Tunnels that echo, and how many packets a second they send together. */
const TUNNELS = 8
const RATE = 1000
/** Seconds of echo that do not count: enough for the engine's compiler to have seen everything. */
const WARM_UP = 0.5

const options = task()
const { privateKey, server, serverPublicKey, socketBuffer, seconds } = options

async function serve() {
  const listening = await SnapTunServer.listen({
    privateKey,
    address: '127.0.0.1',
    socketBufferSize: socketBuffer,
    authorize: ({ identity }) => ({ session: { echoes: identity === options.echoing } }),
  })
  toldToEnd().then(() => listening.close())
  const { address, port } = listening.address()
  say({ listening: `${address}:${port}` })
  let flooded = 0
  for await (const batch of listening.batches()) {
    for (let i = 0; i < batch.length; i++) {
      const tunnel = batch.tunnel(i)
      if (tunnel.session.echoes) tunnel.trySend(batch.data(i))
      else flooded++
    }
  }
  say({ flooded, dropped: listening.stats().droppedReceiveQueueFull })
}

const connect = () => SnapTunnel.connect({ privateKey, server, serverPublicKey, socketBufferSize: socketBuffer })

async function echo() {
  const tunnels = await Promise.all(Array.from({ length: TUNNELS }, connect))
  const paced = new PacedEcho(tunnels)
  await paced.run({ rate: RATE, seconds: WARM_UP })
  say(await paced.run({ rate: RATE, seconds }))
  await Promise.all(tunnels.map((tunnel) => tunnel.close()))
  await paced.received
}

async function flood() {
  const tunnel = await connect()
  let open = true
  toldToEnd().then(() => {
    open = false
  })
  const source = new Source(SIZE, BATCH)
  const batch = { data: source.data, size: SIZE }
  const start = performance.now()
  let turned = start
  let told = false
  while (open) {
    const now = performance.now()
    if (now - turned > TURN_BUDGET) {
      await turn()
      turned = performance.now()
    }
    if (!told && now - start > FULL) {
      told = true
      say({ flooding: true })
    }
    source.fill()
    await tunnel.sendBatch(batch)
  }
  say({ sent: source.made })
  await tunnel.close()
}

await { server: serve, echo, flood }[options.role]()
