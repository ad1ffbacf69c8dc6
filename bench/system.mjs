/**
 * The machine: what it is, who uses its processors, and how to keep a process on one of them.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

/** Ticks a second in /proc (USER_HZ), the same on every architecture of Linux that Node runs on. */
const TICKS = 100
/** Processor time that others may use during a measurement, in cores. Ticks alone make some hundredths. */
export const FOREIGN_LIMIT = 0.1

const linux = process.platform === 'linux'

function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** The command in front of another that keeps it on one core; empty where there is none. */
export function pinning() {
  const works = linux && spawnSync('taskset', ['-c', '0', 'true'], { timeout: 5000 }).status === 0
  const cores = os.cpus().length
  return {
    works: works && cores > 1,
    // With more than two cores the first is left to the kernel and to everybody else.
    client: cores > 2 ? 1 : 0,
    server: cores > 2 ? 2 : 1,
    command: (core) => (works && cores > 1 ? ['taskset', '-c', String(core)] : []),
  }
}

/** Seconds of processor time that a process has used; undefined when it has ended, or where nobody says. */
export function processTime(pid) {
  const stat = linux ? read(`/proc/${pid}/stat`) : undefined
  if (stat === undefined) return undefined
  // The name of the program, in parentheses, may hold anything; fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** Seconds of processor time that all processes have used together, and those that the host took away. */
export function machineTime() {
  const line = linux ? read('/proc/stat')?.slice(0, 200).split('\n', 1)[0] : undefined
  if (line === undefined) return undefined
  const [user, nice, system, , , , , steal] = line.trim().split(/\s+/).slice(1).map(Number)
  return { busy: (user + nice + system) / TICKS, steal: steal / TICKS }
}

/**
 * One look at the clocks of the machine and of some processes.
 * @param {Record<string, number>} pids by what each is
 */
export function lookAt(pids) {
  const own = process.cpuUsage()
  return {
    at: performance.now() / 1000,
    processes: Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, processTime(pid)])),
    machine: machineTime(),
    own: (own.user + own.system) / 1e6,
  }
}

/** Whether all processes of a look were alive. */
export function complete(look) {
  return look.machine !== undefined && Object.values(look.processes).every((time) => time !== undefined)
}

/** Cores used between two looks: by each process, by others, and by the host. Undefined where nobody says. */
export function usage(from, to) {
  const seconds = to.at - from.at
  if (!(seconds > 0) || !complete(from) || !complete(to)) return undefined
  const processes = Object.fromEntries(
    Object.keys(to.processes).map((name) => [name, (to.processes[name] - from.processes[name]) / seconds]),
  )
  const all = (to.machine.busy - from.machine.busy) / seconds
  const own = (to.own - from.own) / seconds
  const steal = (to.machine.steal - from.machine.steal) / seconds
  const known = Object.values(processes).reduce((sum, one) => sum + one, own)
  return { processes, foreign: Math.max(0, all - known), steal }
}

/** Waits until nobody else uses the processors, for `seconds` at most. Returns whether it became quiet. */
export async function untilQuiet(seconds) {
  const end = performance.now() + seconds * 1000
  for (;;) {
    const before = machineTime()
    if (before === undefined) return true
    await sleep(Math.min(1000, Math.max(100, end - performance.now())))
    const after = machineTime()
    if (after.busy - before.busy + after.steal - before.steal < FOREIGN_LIMIT) return true
    if (performance.now() > end) return false
  }
}

/** What figures depend on. No name and no path of the machine. */
export function machine() {
  const limit = (name) => Number(read(`/proc/sys/net/core/${name}`)) || undefined
  return {
    cpu: os.cpus()[0]?.model.trim(),
    cores: os.cpus().length,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.versions.node,
    rmemMax: limit('rmem_max'),
    wmemMax: limit('wmem_max'),
  }
}

/** The load average of the last minute. */
export function load() {
  return Math.round(os.loadavg()[0] * 100) / 100
}
