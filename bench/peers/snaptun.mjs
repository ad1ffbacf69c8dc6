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
const { role, kind, size, tunnels, seconds, count, privateKey, socketBuffer } = options

/**
 * Packets handed over in one call: three trains of what fits into one UDP datagram, and at most 64 segments each, since
 * that is what the kernel splits at once.
 */
const BATCH = options.batch ?? 3 * Math.min(64, Math.floor(65_507 / (size + 32)))

/** Sends to all in turn, as fast as it goes, until `until` says no. Returns how many packets. */
async function flood(targets, until, stream = 0) {
  const source = new Source(size, BATCH, tunnels)
  const batch = { data: source.data, size }
  let at = 0
  let turned = performance.now()
  for (let now = turned; until(now); now = performance.now()) {
    // Many loops are left to what the package does by itself, which is a turn after some packets of each.
    if (!options.independent && now - turned > TURN_BUDGET) {
      await turn()
      turned = performance.now()
    }
    source.fill(stream + at)
    await targets[at].sendBatch(batch)
    at = (at + 1) % targets.length
  }
  return source.made
}

/** The same, or each target by a loop of its own that knows nothing of the others. */
async function floodAll(targets, until) {
  if (!options.independent) return flood(targets, until)
  const sent = await Promise.all(targets.map((target, stream) => flood([target], until, stream)))
  return sent.reduce((sum, one) => sum + one, 0)
}

function listen(extra) {
  return SnapTunServer.listen({
    privateKey,
    address: '127.0.0.1',
    port: 0,
    shards: options.shards ?? 1,
    socketBufferSize: socketBuffer,
    ...extra,
  })
}

async function serve() {
  const server = await listen({ authorize: ({ identity }) => (identity === options.authorized ? {} : null) })
  const { address, port } = server.address()
  const ended = toldToEnd()
  let open = true
  ended.then(() => {
    open = false
    return server.close()
  })
  let sent = 0
  if (kind === 'download' || kind === 'both') {
    const targets = []
    server.on('tunnel', async (tunnel) => {
      // All at once, or the first would have the time of the others' handshakes for itself.
      if (targets.push(tunnel) !== tunnels) return
      try {
        sent = await floodAll(targets, () => open)
      } catch (error) {
        if (open) throw error
      }
    })
  }
  say({ listening: `${address}:${port}` })
  const meter = new Meter(size, tunnels)
  for await (const batch of server.batches()) {
    if (kind === 'echo') {
      await server.sendBatch(batch)
    } else {
      for (let i = 0; i < batch.length; i++) meter.packet(batch.data(i))
      meter.batchEnd()
    }
  }
  await ended
  const { datagramsSent, sendCalls } = server.stats()
  say(kind === 'download' ? { packets: sent, datagramsSent, sendCalls } : meter.report())
}

/** Handshakes: counts the tunnels that open. Whoever proves an identity may pass. */
async function accept() {
  const server = await listen({
    maxTunnels: count + 1,
    maxTunnelsPerIdentity: count + 1,
    authorize: () => ({}),
  })
  let opened = 0
  server.on('tunnel', () => {
    opened++
  })
  const { address, port } = server.address()
  say({ listening: `${address}:${port}` })
  await toldToEnd()
  say({ opened })
  await server.close()
}

async function upload(all) {
  const start = performance.now()
  const end = start + seconds * 1000
  const packets = await floodAll(all, (now) => now < end)
  return { packets, seconds: (performance.now() - start) / 1000 }
}

/** Counts what arrives, from the first packet on, and sends beside it if `both`. */
async function download(all, both) {
  const meter = new Meter(size, tunnels)
  let open = true
  const close = () => {
    open = false
    for (const tunnel of all) tunnel.close()
  }
  let timer = setTimeout(close, FIRST)
  const receive = async (tunnel) => {
    for await (const batch of tunnel.batches()) {
      if (meter.packets === 0) {
        clearTimeout(timer)
        timer = setTimeout(close, seconds * 1000)
      }
      for (let i = 0; i < batch.length; i++) meter.packet(batch.data(i))
      meter.batchEnd()
    }
  }
  const sending = both
    ? floodAll(all, () => open).catch((error) => {
        // The tunnel was closed under it, which is how it ends.
        if (open) throw error
      })
    : undefined
  await Promise.all([...all.map(receive), sending])
  clearTimeout(timer)
  return meter.report()
}

async function echo([tunnel]) {
  const pingPong = new PingPong(options, (packet) => {
    if (!tunnel.trySend(packet)) throw new Error('there is no room for a packet')
  })
  pingPong.start()
  const receiving = options.inFlight === 1 ? oneByOne(tunnel, pingPong) : inBatches(tunnel, pingPong)
  // It may end because nothing comes back any more, and then nobody waits for the packet that does not come.
  await Promise.race([pingPong.finished, receiving])
  receiving.catch(() => undefined)
  return pingPong.report()
}

async function oneByOne(tunnel, pingPong) {
  while (!pingPong.done) {
    pingPong.back(await tunnel.recv())
    pingPong.refill()
  }
}

async function inBatches(tunnel, pingPong) {
  for await (const batch of tunnel.batches()) {
    for (let i = 0; i < batch.length; i++) pingPong.back(batch.data(i))
    pingPong.refill()
    if (pingPong.done) break
  }
}

async function connect() {
  const { server, serverPublicKey } = options
  const open = () => SnapTunnel.connect({ privateKey, server, serverPublicKey, socketBufferSize: socketBuffer })
  const all = await Promise.all(Array.from({ length: tunnels }, open))
  const run = { upload, download, both: (them) => download(them, true), echo }[kind]
  const report = await run(all)
  const { datagramsSent, sendCalls } = all[0].stats()
  say({ ...report, datagramsSent, sendCalls })
  await Promise.all(all.map((tunnel) => tunnel.close()))
}

if (role === 'client') await connect()
else await (kind === 'handshakes' ? accept() : serve())
