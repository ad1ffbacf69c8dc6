/**
 * Many tunnels: the server that they lead to, or the process that opens them. Asked through the channel of `fork`.
 */
import { generatePrivateKey, SnapTunnel, SnapTunServer } from '../../dist/index.js'

/** Handshakes under way at once: enough to keep the server busy, not so many that they time out. */
const CONCURRENCY = 32
/** One tunnel of so many echoes packets, so many of them. */
const ACTIVE = 100
const ECHOES = 50

const [role, count] = process.argv.slice(2)
const tunnels = Number(count)

function usage() {
  const { user, system } = process.cpuUsage()
  globalThis.gc?.()
  return { rss: process.memoryUsage().rss, cpu: (user + system) / 1e6 }
}

async function serve() {
  const server = await SnapTunServer.listen({
    privateKey: generatePrivateKey(),
    address: '127.0.0.1',
    maxTunnels: tunnels + 100,
    maxTunnelsPerIdentity: tunnels + 100,
    authorize: () => ({}),
  })
  const echoing = (async () => {
    for await (const batch of server.batches()) await server.sendBatch(batch)
  })()
  echoing.catch((error) => {
    console.error(error)
    process.exit(1)
  })
  return () => {
    const { tunnels: open } = server.stats()
    return { ...usage(), open, port: server.address().port, publicKey: server.publicKey }
  }
}

/** All tunnels are of one identity, each from a port of its own. */
function load() {
  const privateKey = generatePrivateKey()
  const open = []

  async function connect({ port, publicKey }) {
    const options = {
      privateKey,
      server: { address: '127.0.0.1', port },
      serverPublicKey: publicKey,
      connectTimeout: 60_000,
      receiveQueue: { packets: 16, bytes: 65_536 },
      sendQueue: { packets: 16, bytes: 65_536 },
    }
    const worker = async () => {
      while (open.length < tunnels) {
        const slot = open.push(undefined) - 1
        open[slot] = await SnapTunnel.connect(options)
      }
    }
    await Promise.all(Array.from({ length: CONCURRENCY }, worker))
    return {}
  }

  async function echo() {
    let good = 0
    const trip = async (tunnel, seed) => {
      for (let i = 0; i < ECHOES; i++) {
        const packet = Buffer.alloc(1200, seed + i)
        await tunnel.send(packet)
        if (Buffer.compare(await tunnel.recv({ signal: AbortSignal.timeout(5000) }), packet) === 0) good++
      }
    }
    const active = open.filter((_, i) => i % ACTIVE === 0)
    const results = await Promise.allSettled(active.map(trip))
    const failed = results.filter(({ status }) => status === 'rejected').length
    return { good, failed, sent: active.length * ECHOES }
  }

  return ({ type, ...details }) => ({ connect, echo })[type](details)
}

const answer = await { server: serve, load }[role]()
process.on('message', async (message) => {
  if (message.type === 'stop') process.exit(0)
  process.send({ type: message.type, ...(await answer(message)) })
})
// Nobody is left to ask.
process.on('disconnect', () => process.exit(1))
process.send({ type: 'ready' })
