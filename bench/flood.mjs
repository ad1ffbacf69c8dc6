/**
 * What a flood does to a tunnel: while packets go to and fro at a steady rate, a server is sent 50,000 worthless
 * datagrams a second, of each kind in turn. Prints a table.
 *
 *   node bench/flood.mjs [--rate 50000] [--seconds 4] [--echo 5000] [--buffer BYTES] [--only bad-mac,data]
 *                      [--no-build]
 *
 * `--buffer` is what the server asks the kernel to buffer; 212992 is what Linux gives unless its administrator allows more.
 *
 * Three processes a kind: the server on a core of its own; the client and the tool that floods (crates/peers, `flood`)
 * on the other one, which they share, so that part of what the tunnel suffers is the sender's own doing.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { SnapTunnel, SnapTunServer } from '../dist/index.js'
import { Child, killAll, killAllOnSignal } from './child.mjs'
import { keyPair } from './keys.mjs'
import { PacedEcho } from './peers/paced.mjs'
import { say, task, toldToEnd } from './peers/peer.mjs'
import { prepare } from './prepare.mjs'
import { machine, pinning } from './system.mjs'

const TOOL = fileURLToPath(new URL('../crates/peers/target/release/flood', import.meta.url))

/** Each kind, as the tool names it, and as the table does. */
const KINDS = {
  'bad-mac': 'initiations, bad MAC1',
  initiations: 'initiations, strangers',
  replay: 'initiation, replayed',
  cookies: 'cookies',
  lengths: 'wrong lengths',
  data: 'data, no session',
}

/** Milliseconds that a process may take to say something, beyond what it was told to take. */
const PATIENCE = 20_000
/** Seconds of echo that do not count. */
const WARM_UP = 0.5
/** Milliseconds between two looks of the server at itself. */
const LOOK = 100
/** Milliseconds after which the server has forgotten the flood: its load signal lasts a second. */
const FORGOTTEN = 1500

// ------------------------------------------------------------------------------------------ the server's process

async function serve({ privateKey, authorized, buffer }) {
  const authorize = ({ identity }) => (authorized.includes(identity) ? {} : null)
  const socket = buffer === undefined ? {} : { socketBufferSize: buffer }
  const server = await SnapTunServer.listen({ privateKey, address: '127.0.0.1', authorize, ...socket })
  toldToEnd().then(() => server.close())
  const { address, port } = server.address()
  say({ listening: `${address}:${port}` })
  const looking = setInterval(() => {
    say({ at: Date.now(), rss: process.memoryUsage.rss(), stats: server.stats() })
  }, LOOK)
  for await (const batch of server.batches()) await server.sendBatch(batch).catch(() => undefined)
  clearInterval(looking)
  say({ ended: true })
}

// ------------------------------------------------------------------------------------------ the client's process

async function connect({ privateKey, server, serverPublicKey, rate, seconds }) {
  const options = { privateKey, server, serverPublicKey }
  const tunnel = await SnapTunnel.connect(options)
  const echo = new PacedEcho([tunnel])
  await echo.run({ rate, seconds: WARM_UP })
  say(await echo.run({ rate, seconds }))
  say(await echo.run({ rate, seconds }))
  await sleep(FORGOTTEN)
  const started = performance.now()
  const another = await SnapTunnel.connect(options)
  say({ connected: performance.now() - started })
  await Promise.all([tunnel.close(), another.close()])
  await echo.received
}

// ------------------------------------------------------------------------------------------ the runner

function parse() {
  const { values } = parseArgs({
    options: {
      rate: { type: 'string', default: '50000' },
      seconds: { type: 'string', default: '4' },
      echo: { type: 'string', default: '5000' },
      buffer: { type: 'string' },
      only: { type: 'string', default: Object.keys(KINDS).join(',') },
      'no-build': { type: 'boolean', default: false },
    },
  })
  const number = (name) => {
    const value = Number(values[name])
    if (!(value > 0)) throw new Error(`--${name} must be a number above 0`)
    return value
  }
  const kinds = values.only.split(',')
  const unknown = kinds.find((kind) => !Object.hasOwn(KINDS, kind))
  if (unknown !== undefined) throw new Error(`there is no kind '${unknown}': ${Object.keys(KINDS).join(', ')}`)
  const buffer = values.buffer === undefined ? undefined : number('buffer')
  const numbers = { rate: number('rate'), seconds: number('seconds'), echo: number('echo'), buffer }
  return { ...numbers, kinds, build: !values['no-build'] }
}

/** One kind of flood: all three processes, once. */
async function measure(kind, { rate, seconds, echo, buffer }, cores) {
  const keys = { server: keyPair(), client: keyPair(), attacker: keyPair() }
  const self = (role, core, options) =>
    new Child(role, [
      ...cores.command(core),
      ...[process.execPath, fileURLToPath(import.meta.url), JSON.stringify({ role, ...options })],
    ])
  try {
    const server = self('server', cores.server, {
      privateKey: keys.server.private64,
      authorized: [keys.client.public64, keys.attacker.public64],
      buffer,
    })
    const { listening } = await server.next(PATIENCE)
    const client = self('client', cores.client, {
      privateKey: keys.client.private64,
      serverPublicKey: keys.server.public64,
      server: listening,
      rate: echo,
      seconds,
    })
    const patience = PATIENCE + seconds * 1000
    const quiet = await client.next(patience)
    const began = Date.now()
    const options = ['--to', listening, '--rate', String(rate), '--seconds', String(seconds)]
    const identity = kind === 'replay' ? ['--private-key', keys.attacker.privateHex] : []
    const flood = new Child('flood', [
      ...cores.command(cores.client),
      ...[TOOL, 'send', kind, ...options, '--server-public-key', keys.server.publicHex, ...identity],
    ])
    const sent = await flood.next(patience)
    await flood.end()
    const loaded = await client.next(patience)
    const ended = Date.now()
    const { connected } = await client.next(patience)
    server.tell()
    await client.end()
    const looks = []
    for (let look = await server.next(PATIENCE); !look.ended; look = await server.next(PATIENCE)) looks.push(look)
    await server.end()
    const before = looks.findLast(({ at }) => at < began)
    const after = looks.find(({ at }) => at > ended + LOOK)
    const peak = Math.max(...looks.filter(({ at }) => at >= began).map(({ rss }) => rss))
    return { kind, sent, quiet, loaded, connected, before, after, peak, end: looks.at(-1) }
  } catch (error) {
    killAll()
    throw error
  }
}

/** What a run comes to, as the cells of a line. */
function line({ kind, sent, quiet, loaded, connected, before, after, peak }) {
  const grown = (...names) => names.reduce((sum, name) => sum + after.stats[name] - before.stats[name], 0)
  const handshakes = ['Refused', 'AtCapacity', 'Replayed', 'Invalid', 'RateLimited'].map((name) => `handshakes${name}`)
  const dropped = ['droppedMalformed', 'droppedInvalid', 'droppedReplayed', 'droppedUnknown']
  const seen = grown('handshakes', 'handshakeCookies', ...handshakes, ...dropped)
  const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(1)
  return {
    flood: KINDS[kind],
    'sent/s': sent.rate.toFixed(0),
    'not read %': ((1 - seen / sent.sent) * 100).toFixed(1),
    'loss %': ((loaded.lost / loaded.sent) * 100).toFixed(2),
    'median µs': `${quiet.median.toFixed(0)} → ${loaded.median.toFixed(0)}`,
    'p99 µs': `${quiet.p99.toFixed(0)} → ${loaded.p99.toFixed(0)}`,
    handshakes: String(grown('handshakes')),
    cookies: String(grown('handshakeCookies')),
    refused: String(grown(...handshakes)),
    dropped: String(grown(...dropped)),
    tunnels: String(after.stats.tunnels),
    'RSS MiB': `${mebibytes(before.rss)} → ${mebibytes(after.rss)} (peak ${mebibytes(peak)})`,
    'connect ms': connected.toFixed(1),
  }
}

function table(lines) {
  const names = Object.keys(lines[0])
  const widths = names.map((name) => Math.max(name.length, ...lines.map((one) => one[name].length)))
  const row = (cells) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  return [row(names), ...lines.map((one) => row(names.map((name) => one[name])))].join('\n')
}

async function main() {
  const options = parse()
  if (options.build) await prepare(new Set(['flood']))
  const cores = pinning()
  const runs = []
  for (const kind of options.kinds) {
    console.log(`${KINDS[kind]}…`)
    runs.push(await measure(kind, options, cores))
  }
  const { cpu, cores: count, system, node } = machine()
  console.log(`\n${table(runs.map(line))}\n`)
  console.log(`${cpu}, ${count} cores, ${system}, Node ${node}; ${options.echo} packets/s to and fro,`)
  console.log(
    `${options.seconds} s quiet, ${options.seconds} s flooded; quiet → flooded. «not read»: dropped by the kernel.`,
  )
  const failed = runs.filter(
    ({ quiet, loaded, after, end }) =>
      loaded.lost / loaded.sent >= 0.01 ||
      loaded.median > 3 * quiet.median ||
      end.stats.handshakeCookies !== after.stats.handshakeCookies,
  )
  for (const { kind } of failed)
    console.log(`Not within the bounds (1 % loss, 3 times the median, no cookie after it): ${kind}`)
  if (failed.length > 0) process.exitCode = 1
}

if (process.argv[2]?.startsWith('{')) {
  const options = task()
  await (options.role === 'server' ? serve(options) : connect(options))
} else {
  killAllOnSignal()
  try {
    await main()
  } catch (error) {
    console.error(`flood: ${error.message}`)
    process.exitCode = 1
  }
}
