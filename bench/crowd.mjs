/**
 * Many tunnels on one server: how long it takes until all are open, what an idle one costs in memory and processor time,
 * and whether the few that are active still work.
 *
 * One process opens all tunnels to another one, each from a port of its own. Then all are idle; then one in a hundred
 * echoes packets, which are compared.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { adopt } from './child.mjs'

const PEER = fileURLToPath(new URL('peers/crowd.mjs', import.meta.url))
/** Milliseconds that all of it may take at most, beyond the time that the tunnels are idle. */
const LIMIT = 600_000
/** Milliseconds after the last handshake until tunnels count as idle. */
const SETTLE = 2000

/** A peer. The one that opens the tunnels holds a socket for each. */
function start(role, tunnels, signal) {
  const command = [process.execPath, '--expose-gc', PEER, role, String(tunnels)]
  const limit = `ulimit -n ${tunnels + 1000} && exec "$0" "$@"`
  const child = adopt(
    spawn('sh', ['-c', limit, ...command], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], windowsHide: true }),
  )
  const ended = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`the ${role} ended with ${code}`)
  })
  ended.catch(() => undefined)
  const said = async (type) => {
    for (;;) {
      const [message] = await Promise.race([once(child, 'message', { signal }), ended])
      if (message.type === type) return message
    }
  }
  return {
    ready: said('ready'),
    ask(type, details = {}) {
      const answer = said(type)
      child.send({ type, ...details })
      return answer
    },
    stop: () => child.connected && child.send({ type: 'stop' }),
    kill: () => child.kill('SIGKILL'),
  }
}

/**
 * Measures. Throws when not all tunnels stay open, or a packet is wrong.
 * @param {{ crowd: number, idle: number }} settings how many tunnels, and for how many seconds they are idle
 */
export async function crowd({ crowd: tunnels, idle }) {
  const signal = AbortSignal.timeout(LIMIT + idle * 1000)
  const [server, load] = ['server', 'load'].map((role) => start(role, tunnels, signal))
  try {
    await Promise.all([server.ready, load.ready])
    const before = await server.ask('before')
    const started = performance.now()
    await load.ask('connect', { port: before.port, publicKey: before.publicKey })
    const seconds = (performance.now() - started) / 1000
    const full = await server.ask('full')
    await sleep(SETTLE)
    const first = await server.ask('first')
    await sleep(idle * 1000)
    const last = await server.ask('last')
    const echo = await load.ask('echo')
    const after = await server.ask('after')
    if (full.open !== tunnels || after.open !== tunnels) {
      throw new Error(`of ${tunnels} tunnels ${full.open} opened, and ${after.open} were left`)
    }
    if (echo.good !== echo.sent) throw new Error(`${echo.good} of ${echo.sent} packets came back right`)
    const report = {
      seconds,
      echoes: echo.good,
      count: tunnels,
      lost: 0,
      residentBytes: (last.rss - before.rss) / tunnels,
      idlePercent: ((last.cpu - first.cpu) / idle) * 100,
    }
    return { report }
  } finally {
    for (const one of [server, load]) {
      one.stop()
      setTimeout(one.kill, 2000).unref()
    }
  }
}
