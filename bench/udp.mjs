/**
 * Datagrams in clear: `UdpBatchSocket` against `node:dgram`, one process sending and one receiving over loopback, each on
 * a core of its own. Prints a table of datagrams a second that JavaScript received and looked at, and the ratio.
 *
 *   node bench/udp.mjs [--rounds 5] [--seconds 2] [--no-build]
 *
 * Both sides of a run are of the same kind, and the kinds take turns in each round. To one target, and to 64 in turn:
 * 127.0.0.1 to 127.0.0.64, which are all one socket's.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { UdpBatchSocket } from '../dist/index.js'
import { Child, killAll, killAllOnSignal } from './child.mjs'
import { say, task, toldToEnd } from './peers/peer.mjs'
import { Meter, Source } from './peers/traffic.mjs'
import { prepare } from './prepare.mjs'
import { summary } from './statistics.mjs'
import { machine, pinning } from './system.mjs'

const WORKLOADS = [
  { title: '1200 B, one target', size: 1200, targets: 1 },
  { title: '1200 B, another each', size: 1200, targets: 64 },
  { title: '64 B, one target', size: 64, targets: 1 },
  { title: '64 B, another each', size: 64, targets: 64 },
]

/** What the kernel is asked to buffer, for both kinds. */
const BUFFER = 4 << 20
/** Datagrams that are made, and handed over, at a time. */
const BURST = { snaptun: 192, dgram: 256 }
/** Milliseconds after which a sender that always finds room lets its event loop turn. */
const TURN_BUDGET = 3
/** Milliseconds that a process may take to start, and what is on its way to arrive. */
const START = 15_000
const DRAIN = 100

/** The addresses of the targets; the same objects again and again, as an application has its peers. */
function addresses({ port, targets }) {
  return Array.from({ length: targets }, (_, i) => ({ address: `127.0.0.${i + 1}`, port }))
}

// ------------------------------------------------------------------------------------------ the kinds

const receivers = {
  async snaptun(meter, ended) {
    const socket = await UdpBatchSocket.bind({ receiveBufferSize: BUFFER })
    say({ port: socket.address().port })
    ended.then(() => socket.close())
    for await (const batch of socket.batches()) {
      for (let i = 0; i < batch.length; i++) meter.packet(batch.data(i))
      meter.batchEnd()
    }
  },

  async dgram(meter, ended) {
    const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER })
    socket.bind(0)
    await once(socket, 'listening')
    say({ port: socket.address().port })
    let scheduled = false
    const end = () => {
      scheduled = false
      meter.batchEnd()
    }
    socket.on('message', (datagram) => {
      meter.packet(datagram)
      if (!scheduled) {
        scheduled = true
        setImmediate(end)
      }
    })
    await ended
    socket.close()
  },
}

const senders = {
  async snaptun({ size, targets, port }, until) {
    const socket = await UdpBatchSocket.bind({ sendBufferSize: BUFFER })
    const source = new Source(size, BURST.snaptun)
    const batch = { data: source.data, size }
    const to = addresses({ port, targets })
    const each = targets === 1 ? to[0] : Array.from({ length: BURST.snaptun }, (_, i) => to[i % targets])
    let turned = performance.now()
    for (let now = turned; until(now); now = performance.now()) {
      if (now - turned > TURN_BUDGET) {
        await turn()
        turned = performance.now()
      }
      source.fill()
      await socket.sendBatch(batch, each)
    }
    const { sendCalls } = socket.stats()
    await socket.close()
    return { sent: source.next, sendCalls }
  },

  async dgram({ size, targets, port }, until) {
    // Without a look-up for each datagram, even of what is an address already.
    const lookup = (host, _options, found) => found(null, host, 4)
    const socket = createSocket({ type: 'udp4', sendBufferSize: BUFFER, lookup })
    const to = addresses({ port, targets })
    // With such a look-up these events come before the calls return.
    const listening = once(socket, 'listening')
    socket.bind(0)
    await listening
    if (targets === 1) {
      const connected = once(socket, 'connect')
      socket.connect(port, to[0].address)
      await connected
    }
    const source = new Source(size, BURST.dgram)
    const packets = Array.from({ length: BURST.dgram }, (_, i) => source.data.subarray(i * size, (i + 1) * size))
    while (until(performance.now())) {
      source.fill()
      if (targets === 1) for (const packet of packets) socket.send(packet)
      else for (const [i, packet] of packets.entries()) socket.send(packet, port, to[i % targets].address)
      // What the system did not take at once waits in this queue, which must not grow without bound.
      do await turn()
      while (socket.getSendQueueCount() > 0)
    }
    socket.close()
    return { sent: source.next, sendCalls: source.next }
  },
}

async function receive({ kind, size }) {
  const meter = new Meter(size)
  await receivers[kind](meter, toldToEnd())
  say(meter.report())
}

async function send(options) {
  const end = performance.now() + options.seconds * 1000
  say(await senders[options.kind](options, (now) => now < end))
}

// ------------------------------------------------------------------------------------------ the runner

/** One run. */
async function measure(kind, { size, targets }, seconds, cores) {
  const self = (role, core, options) =>
    new Child(`${role} of ${kind}`, [
      ...cores.command(core),
      ...[process.execPath, fileURLToPath(import.meta.url), JSON.stringify({ role, kind, size, ...options })],
    ])
  const receiver = self('server', cores.server, {})
  try {
    const { port } = await receiver.next(START)
    const sender = self('client', cores.client, { targets, port, seconds })
    const { sent, sendCalls } = await sender.next(START + seconds * 1000)
    await sender.end()
    await sleep(DRAIN)
    receiver.tell()
    const report = await receiver.next(START)
    await receiver.end()
    if (report.corrupt > 0) throw new Error(`${report.corrupt} datagrams are not what was sent`)
    if (report.packets === 0) throw new Error('nothing arrived')
    return {
      rate: report.packets / report.seconds,
      sendRate: sent / seconds,
      perCall: sent / sendCalls,
      lost: 1 - report.packets / sent,
    }
  } catch (error) {
    killAll()
    throw error
  }
}

function row(title, kind, runs, ratio) {
  const thousands = ({ median, min, max }) =>
    `${(median / 1000).toFixed(0)} (${(min / 1000).toFixed(0)} to ${(max / 1000).toFixed(0)})`
  const of = (name) => summary(runs.map((run) => run[name]))
  const times = ({ median, min, max }) => `${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`
  return [
    title,
    kind,
    thousands(of('rate')),
    ratio === undefined ? '' : times(ratio),
    thousands(of('sendRate')),
    `${(of('lost').median * 100).toFixed(0)} %`,
    of('perCall').median.toFixed(0),
  ]
}

async function main() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      'no-build': { type: 'boolean', default: false },
    },
  })
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)]
  if (!(rounds >= 1 && seconds > 0)) throw new Error('--rounds and --seconds must be numbers above 0')
  if (!values['no-build']) await prepare(false)
  const cores = pinning()
  const kinds = Object.keys(senders)
  const rows = []
  for (const workload of WORKLOADS) {
    const runs = Object.fromEntries(kinds.map((kind) => [kind, []]))
    for (let round = 0; round < rounds; round++) {
      for (const kind of kinds) runs[kind].push(await measure(kind, workload, seconds, cores))
    }
    const ratio = summary(runs.snaptun.map(({ rate }, round) => rate / runs.dgram[round].rate))
    rows.push(row(workload.title, 'snaptun', runs.snaptun, ratio), row('', 'dgram', runs.dgram))
  }
  const head = ['datagrams', 'kind', 'received, thousand/s', 'times dgram', 'sent, thousand/s', 'lost', 'per send call']
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((cells) => cells[i].length)))
  const line = (cells) => cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')
  console.log([head, ...rows].map(line).join('\n'))
  const { cpu, cores: count, system, node } = machine()
  console.log(
    `\n${cpu}, ${count} cores, ${system}, Node ${node}; medians of ${rounds} rounds of ${seconds} s (least to`,
  )
  console.log(
    `greatest); the ratio is each round's own.${cores.works ? '' : ' Processes could not be bound to cores.'}`,
  )
}

if (process.argv[2]?.startsWith('{')) {
  const options = task()
  await { server: receive, client: send }[options.role](options)
} else {
  killAllOnSignal()
  await main()
}
