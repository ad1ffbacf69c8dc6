/**
 * One run: one contender, one workload, in processes of its own.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.mjs'
import { crowd } from './crowd.mjs'
import { figures } from './figures.mjs'
import { flooded } from './flooded.mjs'
import { keyPair } from './keys.mjs'
import { complete, FOREIGN_LIMIT, lookAt, usage } from './system.mjs'

/** Milliseconds that a process may take to start. */
const START = 15_000
/** Milliseconds that a client may take longer than it was told to run; a run of echoes has no other limit. */
const SLACK = 60_000
/** Milliseconds after the start of the client from which on processor time counts: Node has started by then. */
const STARTED = 400
/** Milliseconds between two looks at the processors. */
const LOOK_INTERVAL = 100
/** Milliseconds for what is on its way to the server when the client has ended. */
const DRAIN = 100

/**
 * @param {import('./contenders.mjs').Contender} contender
 * @param {import('./plan.mjs').Workload} workload
 * @param {{ seconds: number, echoes: number, handshakes: number, crowd: number, idle: number, socketBuffer: number }} settings
 * @param {ReturnType<import('./system.mjs').pinning>} pinning
 * @returns what was measured, or undefined where the contender has no part in the workload
 */
export async function measure(contender, workload, settings, pinning) {
  const { socketBuffer = settings.socketBuffer } = contender
  const run = { ...parameters(workload, settings), socketBuffer, serverKeys: keyPair(), clientKeys: keyPair() }
  const cores = contender.loose ? { ...pinning, command: () => [] } : pinning
  const { report, used } = await measured(contender, run, settings, cores)
  return result(workload, report, used)
}

/** What a run's processes are told, but for their keys. */
function parameters({ kind, size, tunnels, targets, inFlight, independent, identities, seconds }, settings) {
  const count = { echo: settings.echoes, handshakes: settings.handshakes, memory: settings.crowd }[kind] ?? 0
  const shape = { kind, size, tunnels, targets, inFlight, independent, count, identities: Math.min(identities, count) }
  return { ...shape, seconds: seconds ?? settings.seconds }
}

function measured(contender, run, settings, cores) {
  const alone = contender.alone?.(run)
  if (alone) return one(contender, run, alone, cores)
  if (run.kind === 'memory') return crowd(settings, cores)
  if (run.kind === 'flooded') return flooded(run, cores)
  const server = contender.server?.(run)
  if (server) return pair(contender, run, server, cores)
  throw new Error(`${contender.name} has no part in '${run.kind}'`)
}

/** A process by itself. */
async function one(contender, run, command, cores) {
  const process = new Child(contender.name, [...cores.command(cores.server), ...command], contender.env)
  const { report, used } = await watched({ alone: process.pid }, () =>
    process.next(START + SLACK + run.seconds * 1000),
  ).catch((error) => {
    process.kill()
    throw error
  })
  await process.end()
  return { report: { ...report, ways: [report] }, used }
}

/** A server and its client. */
async function pair(contender, run, command, cores) {
  const start = (role, core, its) =>
    new Child(`${role} of ${contender.name}`, [...cores.command(core), ...its], contender.env)
  const server = start('server', cores.server, command)
  let client
  try {
    const { listening } = await server.next(START)
    client = start('client', cores.client, contender.client(run, listening))
    const { report: fromClient, used } = await watched({ client: client.pid, server: server.pid }, () =>
      client.next(START + SLACK + run.seconds * 1000),
    )
    await client.end()
    await sleep(DRAIN)
    server.tell()
    const fromServer = await server.next(START)
    await server.end()
    return { report: both(run, fromClient, fromServer), used }
  } catch (error) {
    server.kill()
    client?.kill()
    throw error
  }
}

/** What both sides say, as one report; `ways` are the directions that data went. */
function both({ kind }, fromClient, fromServer) {
  switch (kind) {
    case 'upload':
    case 'datagrams':
      return { ...fromServer, ways: [fromServer], sender: fromClient }
    case 'download':
      return { ...fromClient, ways: [fromClient], sender: fromServer }
    case 'both':
      // Over the same time: of what one way has starved, some last packets at once would be a high rate.
      return {
        ...fromClient,
        ways: [fromClient, { ...fromServer, seconds: Math.max(fromServer.seconds, fromClient.seconds) }],
      }
    case 'handshakes':
      // A tunnel that JavaScript never heard of does not count; who is not in JavaScript does not say.
      return { ...fromClient, count: Math.min(fromClient.count, fromServer.opened ?? fromClient.count) }
    default:
      return fromClient
  }
}

/** Does something, and looks how many cores the processes use while it is in full swing. */
export async function watched(pids, work) {
  const watch = new AbortController()
  const used = watchProcessors(pids, watch.signal)
  try {
    return { report: await work(), used: await stop() }
  } catch (error) {
    await stop()
    throw error
  }
  function stop() {
    watch.abort()
    return used
  }
}

async function watchProcessors(pids, signal) {
  let first
  let last
  const began = performance.now()
  while (!signal.aborted) {
    const look = lookAt(pids)
    if (complete(look)) {
      if (first === undefined && performance.now() - began >= STARTED) first = look
      else last = look
    }
    await sleep(LOOK_INTERVAL, undefined, { signal }).catch(() => undefined)
  }
  return first && last ? usage(first, last) : undefined
}

function result(workload, report, used) {
  if (report.corrupt > 0) throw new Error(`${report.corrupt} packets are not what was sent`)
  const figure = figures[workload.figure].of(report)
  if (!(figure >= 0)) throw new Error('nothing arrived')
  const ways = report.ways ?? []
  const sum = (what) => ways.reduce((all, way) => all + way[what], 0)
  const rate = ways.reduce((all, way) => all + way.packets / way.seconds, 0)
  const cores = used ? Object.values(used.processes).reduce((all, one) => all + one, 0) : 0
  const sent = ways.length > 0 ? sum('packets') + sum('lost') : report.count + report.lost
  return {
    figure,
    lost: sent > 0 ? (ways.length > 0 ? sum('lost') : report.lost) / sent : null,
    goodput: ways.length > 0 ? figures.goodput.of(report) : null,
    p99: report.p99Us ?? null,
    // Of both sides together, in microseconds.
    cpu: used && rate > 0 ? (cores * 1e6) / rate : null,
    loop: report.loopP99Ms ?? null,
    idle: report.idlePercent ?? null,
    // Datagrams that one system call sent.
    train: report.sender?.sendCalls > 0 ? report.sender.datagramsSent / report.sender.sendCalls : null,
    disturbed: used !== undefined && used.foreign + used.steal > FOREIGN_LIMIT,
  }
}
