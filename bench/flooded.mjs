/**
 * What one client that sends as fast as it can does to the latency of others of the same server.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Child, killAll } from './child.mjs'
import { keyPair } from './keys.mjs'

const PEER = fileURLToPath(new URL('peers/flooded.mjs', import.meta.url))
/** Milliseconds that a process may take to say something, beyond what it was told to take. */
const PATIENCE = 15_000

/**
 * In front of the flood, where the system has it: the flood then takes the processor time that the echo leaves. They share a
 * core here for want of a third one; on a network they would be two machines.
 */
function idly() {
  const works = spawnSync('chrt', ['--idle', '0', 'true'], { timeout: 5000 }).status === 0
  return works ? ['chrt', '--idle', '0'] : []
}

/**
 * The echo by itself, and then beside the flood. Medians in microseconds.
 * @param {import('./contenders.mjs').Run} run
 * @param {ReturnType<import('./system.mjs').pinning>} cores
 */
export async function flooded({ seconds, socketBuffer, serverKeys }, cores) {
  const keys = { echo: keyPair(), flood: keyPair() }
  const start = (role, core, before, options) =>
    new Child(role, [
      ...[...cores.command(core), ...before, process.execPath, PEER],
      JSON.stringify({ role, socketBuffer, seconds, ...options }),
    ])
  const server = start('server', cores.server, [], {
    privateKey: serverKeys.private64,
    echoing: keys.echo.public64,
  })
  try {
    const { listening } = await server.next(PATIENCE)
    const client = (role, before) =>
      start(role, cores.client, before, {
        privateKey: keys[role].private64,
        server: listening,
        serverPublicKey: serverKeys.public64,
      })
    const echo = async () => {
      const child = client('echo', [])
      const result = await child.next(PATIENCE + seconds * 1000)
      await child.end()
      return result
    }
    const quiet = await echo()
    const flood = client('flood', idly())
    await flood.next(PATIENCE)
    const loaded = await echo()
    flood.tell()
    await flood.next(PATIENCE)
    await flood.end()
    server.tell()
    const { flooded: arrived } = await server.next(PATIENCE)
    await server.end()
    if (!(arrived > 0)) throw new Error('nothing of the flood arrived')
    const { median: medianUs, p99: p99Us, sent, lost } = loaded
    return { report: { medianUs, p99Us, quietUs: quiet.median, count: sent - lost, lost } }
  } catch (error) {
    killAll()
    throw error
  }
}
