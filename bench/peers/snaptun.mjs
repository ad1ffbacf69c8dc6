/**
 * The package, through its public interface, in the forms that are the fastest it has.
 */
import { performance } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { SnapTunnel, SnapTunServer } from '../../dist/index.js'
import { say, task, toldToEnd } from './peer.mjs'
import { Meter, PingPong, Source } from './traffic.mjs'

/** Milliseconds after which a sender that always finds room lets its event loop turn. */
const TURN_BUDGET = 3
/** Milliseconds that a download may take to begin. */
const FIRST = 5000

const options = task()
const { role, workload, size, seconds, count, privateKey, socketBuffer } = options

/**
 * Packets handed over in one call: three trains of what fits into one UDP datagram, and at most 64 segments each, since
 * that is what the kernel splits at once.
 */
const BATCH = 3 * Math.min(64, Math.floor(65_507 / (size + 32)))

/** Sends as fast as it goes until `until` says no. */
async function flood(target, until) {
  const source = new Source(size, BATCH)
  const batch = { data: source.data, size }
  let turned = performance.now()
  for (let now = turned; until(now); now = performance.now()) {
    if (now - turned > TURN_BUDGET) {
      await turn()
      turned = performance.now()
    }
    source.fill()
    await target.sendBatch(batch)
  }
  return source.next
}

async function serve() {
  const server = await SnapTunServer.listen({
    privateKey,
    address: '127.0.0.1',
    port: 0,
    shards: 1,
    socketBufferSize: socketBuffer,
    authorize: ({ identity }) => (identity === options.authorized ? {} : null),
  })
  const { address, port } = server.address()
  const ended = toldToEnd()
  let open = true
  ended.then(() => {
    open = false
    return server.close()
  })
  let sent = 0
  if (workload === 'download') {
    server.on('tunnel', async (tunnel) => {
      try {
        sent += await flood(tunnel, () => open)
      } catch (error) {
        if (open) throw error
      }
    })
  }
  say({ listening: `${address}:${port}` })
  const meter = new Meter(size)
  for await (const batch of server.batches()) {
    if (workload === 'echo') {
      await server.sendBatch(batch)
    } else {
      for (let i = 0; i < batch.length; i++) meter.packet(batch.data(i))
      meter.batchEnd()
    }
  }
  await ended
  say(workload === 'download' ? { packets: sent } : { ...meter.report(), stats: server.stats() })
}

async function upload(tunnel) {
  const start = performance.now()
  const end = start + seconds * 1000
  const packets = await flood(tunnel, (now) => now < end)
  return { packets, seconds: (performance.now() - start) / 1000 }
}

async function download(tunnel) {
  const meter = new Meter(size)
  let timer = setTimeout(() => tunnel.close(), FIRST)
  for await (const batch of tunnel.batches()) {
    if (meter.packets === 0) {
      clearTimeout(timer)
      timer = setTimeout(() => tunnel.close(), seconds * 1000)
    }
    for (let i = 0; i < batch.length; i++) meter.packet(batch.data(i))
    meter.batchEnd()
  }
  clearTimeout(timer)
  return meter.report()
}

async function echo(tunnel) {
  const pingPong = new PingPong(size, count, (packet) => tunnel.trySend(packet))
  pingPong.start()
  const receiving = (async () => {
    while (!pingPong.done) pingPong.back(await tunnel.recv())
  })()
  // It may end because nothing comes back any more, and then nobody waits for the packet that does not come.
  await Promise.race([pingPong.finished, receiving])
  receiving.catch(() => undefined)
  return pingPong.report()
}

async function connect() {
  const tunnel = await SnapTunnel.connect({
    privateKey,
    server: options.server,
    serverPublicKey: options.serverPublicKey,
    socketBufferSize: socketBuffer,
  })
  const run = { upload, download, echo }[workload]
  const report = await run(tunnel)
  say({ ...report, stats: tunnel.stats() })
  await tunnel.close()
}

await (role === 'server' ? serve() : connect())
