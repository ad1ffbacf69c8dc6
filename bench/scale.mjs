/**
 * Many tunnels on one server: how long it takes until all are open, what an idle one costs in memory and processor time,
 * and whether the few that are active still work.
 *
 * One load process opens `--tunnels` (10,000) tunnels to one server process, each from a port of its own, all of one
 * identity. Then all are idle for `--idle` seconds; then one in a hundred echoes packets, which are compared.
 */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    tunnels: { type: 'string', default: '10000' },
    idle: { type: 'string', default: '20' },
    help: { type: 'boolean', default: false },
    role: { type: 'string' },
  },
})

const self = fileURLToPath(import.meta.url)
const tunnels = Number(values.tunnels)
const idle = Number(values.idle)
/** Handshakes under way at once: enough to keep the server busy, not so many that they time out. */
const CONCURRENCY = 32
const ECHOES = 50
/** What a `Tunn` takes by itself, in bytes: `size_of` with `ring`, whose keys lie in it. (10,600 with `aws-lc-rs`.) */
const BARE_TUNN = 18_992

/** Sends a message and waits for the answer of the same type. */
async function ask(child, type, details = {}) {
  child.send({ type, ...details })
  for (;;) {
    const [message] = await once(child, 'message')
    if (message.type === type) return message
  }
}

function usage() {
  const { user, system } = process.cpuUsage()
  globalThis.gc?.()
  return { rss: process.memoryUsage().rss, cpu: (user + system) / 1e6 }
}

async function serve() {
  const { SnapTunServer, generatePrivateKey } = await import('../dist/index.js')
  const server = await SnapTunServer.listen({
    privateKey: generatePrivateKey(),
    address: '127.0.0.1',
    maxTunnels: tunnels + 100,
    maxTunnelsPerIdentity: tunnels + 100,
    authorize: () => ({}),
  })
  void (async () => {
    for await (const batch of server.batches()) await server.sendBatch(batch)
  })()
  process.on('message', ({ type }) => {
    if (type === 'stop') process.exit(0)
    const { tunnels: open, handshakes } = server.stats()
    process.send({ type, ...usage(), open, handshakes, port: server.address().port, publicKey: server.publicKey })
  })
}

async function load() {
  const { SnapTunnel, generatePrivateKey } = await import('../dist/index.js')
  const privateKey = generatePrivateKey()
  const open = []
  const handlers = {
    async connect({ port, publicKey }) {
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
    },
    async echo() {
      let good = 0
      const trip = async (tunnel, seed) => {
        for (let i = 0; i < ECHOES; i++) {
          const packet = Buffer.alloc(1200, seed + i)
          await tunnel.send(packet)
          if (Buffer.compare(await tunnel.recv({ signal: AbortSignal.timeout(5000) }), packet) === 0) good++
        }
      }
      const active = open.filter((_, i) => i % 100 === 0)
      const results = await Promise.allSettled(active.map(trip))
      return {
        good,
        failed: results.filter(({ status }) => status === 'rejected').length,
        sent: active.length * ECHOES,
      }
    },
    stop: () => process.exit(0),
  }
  process.on('message', async ({ type, ...details }) => process.send({ type, ...(await handlers[type](details)) }))
}

async function run() {
  const child = (role, node) => {
    const args = ['--expose-gc', self, '--role', role, '--tunnels', String(tunnels)]
    if (node !== undefined) return fork(args[1], args.slice(2), { execArgv: args.slice(0, 1) })
    // The load process holds a socket for each tunnel.
    const command = `ulimit -n ${tunnels + 1000} && exec "$0" "$@"`
    return spawn('sh', ['-c', command, process.execPath, ...args], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  }
  const server = child('server', process.execPath)
  const client = child('load')
  const ended = (code) => {
    if (code !== 0) process.exitCode = 1
  }
  server.once('exit', ended)
  client.once('exit', ended)
  const limit = setTimeout(() => {
    console.error('It took longer than ten minutes.')
    server.kill()
    client.kill()
  }, 600_000)
  const before = await ask(server, 'before')
  const started = performance.now()
  await ask(client, 'connect', { port: before.port, publicKey: before.publicKey })
  const seconds = (performance.now() - started) / 1000
  const full = await ask(server, 'full')
  const settle = 2000
  await new Promise((resolve) => setTimeout(resolve, settle))
  const first = await ask(server, 'first')
  await new Promise((resolve) => setTimeout(resolve, idle * 1000))
  const last = await ask(server, 'last')
  const echo = await ask(client, 'echo')
  const after = await ask(server, 'after')
  clearTimeout(limit)
  server.send({ type: 'stop' })
  client.send({ type: 'stop' })

  const each = (last.rss - before.rss) / tunnels
  console.log(`${tunnels} tunnels on one shard, ${availableParallelism()} cores, Node ${process.versions.node}`)
  console.log(
    `opened             ${full.open} in ${seconds.toFixed(1)} s: ${Math.round(tunnels / seconds)} handshakes/s, both sides on this machine`,
  )
  console.log(`memory a tunnel    ${Math.round(each)} bytes, ${(each / BARE_TUNN).toFixed(2)} of a bare Tunn`)
  console.log(`idle for ${idle} s      ${(((last.cpu - first.cpu) / idle) * 100).toFixed(2)}% of a core`)
  console.log(`echo               ${echo.good} of ${echo.sent} packets right, ${echo.failed} tunnels failed`)
  console.log(`still open         ${after.open}`)
  if (full.open !== tunnels || after.open !== tunnels || echo.good !== echo.sent) process.exitCode = 1
}

if (values.help) console.log('node bench/scale.mjs [--tunnels 10000] [--idle 20]')
else if (values.role === 'server') await serve()
else if (values.role === 'load') await load()
else await run()
