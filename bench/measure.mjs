/**
 * One run: one contender, one workload, two processes.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.mjs'
import { keyPair } from './keys.mjs'
import { FOREIGN_LIMIT, lookAt, usage } from './system.mjs'

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
 * @param {typeof import('./contenders.mjs').contenders[number]} contender
 * @param {import('./workloads.mjs').Workload} workload
 * @param {{ seconds: number, count: number, socketBuffer: number }} settings
 * @param {ReturnType<import('./system.mjs').pinning>} pinning
 */
export async function measure(contender, workload, settings, pinning) {
  const { kind, size } = workload
  const run = { ...settings, workload: kind, size, serverKeys: keyPair(), clientKeys: keyPair() }
  const start = (role, core, command) =>
    new Child(`${role} of ${contender.name}`, [...pinning.command(core), ...command], contender.env)
  const server = start('server', pinning.server, contender.server(run))
  let client
  try {
    const { listening } = await server.next(START)
    client = start('client', pinning.client, contender.client(run, listening))
    const watch = new AbortController()
    const used = watchProcessors(client.pid, server.pid, watch.signal)
    let fromClient
    try {
      fromClient = await client.next(START + SLACK + settings.seconds * 1000)
    } finally {
      watch.abort()
    }
    await client.end()
    await sleep(DRAIN)
    server.tell()
    const fromServer = await server.next(START)
    await server.end()
    return result(workload, kind === 'upload' ? fromServer : fromClient, await used)
  } catch (error) {
    server.kill()
    client?.kill()
    throw error
  }
}

/** Cores used while the run is in full swing. */
async function watchProcessors(client, server, signal) {
  let first
  let last
  const began = performance.now()
  while (!signal.aborted) {
    const look = lookAt(client, server)
    if (look.client !== undefined && look.server !== undefined) {
      if (first === undefined && performance.now() - began >= STARTED) first = look
      else last = look
    }
    await sleep(LOOK_INTERVAL, undefined, { signal }).catch(() => undefined)
  }
  return first && last ? usage(first, last) : undefined
}

function result(workload, report, used) {
  if (report.corrupt > 0) throw new Error(`${report.corrupt} packets are not what was sent`)
  const figure = workload.figure(report)
  if (!(figure > 0)) throw new Error('nothing arrived')
  const sent = (report.packets ?? report.count) + report.lost
  const rate = report.packets / report.seconds
  return {
    figure,
    lost: report.lost / sent,
    p99: report.p99Us ?? null,
    // Of both sides together, in microseconds.
    cpu: used && rate > 0 ? ((used.client + used.server) * 1e6) / rate : null,
    cores: used ?? null,
    disturbed: used !== undefined && used.foreign + used.steal > FOREIGN_LIMIT,
  }
}
