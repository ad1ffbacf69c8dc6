/**
 * Datagrams in clear, from one socket to another: what is the same whichever kind of socket it is.
 */
import { performance } from 'node:perf_hooks'
import { say, task, toldToEnd } from './peer.mjs'
import { Meter } from './traffic.mjs'

/**
 * Receives until it is told to end, or sends for as long as it was told.
 *
 * @param {(options: object, meter: Meter, ready: (port: number) => void, ended: Promise<void>) => Promise<void>} receive
 * binds to all addresses, calls `ready`, and settles when it has closed its socket, which it does when `ended` settles
 * @param {(options: object, targets: { address: string, port: number }[], until: (now: number) => boolean) =>
 *   Promise<{ packets: number, datagramsSent: number, sendCalls: number }>} send sends while `until` says so
 */
export async function play(receive, send) {
  const options = task()
  if (options.role === 'server') {
    const meter = new Meter(options.size)
    await receive(options, meter, (port) => say({ listening: `127.0.0.1:${port}` }), toldToEnd())
    say(meter.report())
  } else {
    const start = performance.now()
    const end = start + options.seconds * 1000
    const sent = await send(options, addresses(options), (now) => now < end)
    say({ ...sent, seconds: (performance.now() - start) / 1000 })
  }
}

/**
 * 127.0.0.1 and so on, which are all one socket's. The same objects again and again, as an application has its peers.
 * Only Linux has more than the first without being told.
 */
function addresses({ server, targets }) {
  const port = Number(server.split(':')[1])
  return Array.from({ length: targets }, (_, at) => ({ address: `127.0.0.${at + 1}`, port }))
}
