/**
 * What the numbers must become, and what they are.
 */
import { aligned } from './table.mjs'

/** @typedef {{ median: number, min: number, max: number }} Summary */

/** Finds what a contender did in a workload. */
function found(workloads, workload, contender) {
  return workloads.find(({ name }) => name === workload)?.contenders.find(({ name }) => name === contender)
}

/** By how much ours is better. */
const ratio = (workload, contender) => (workloads) => found(workloads, workload, contender)?.ratio

/** The other way round: how many times as much ours takes. */
const times = (workload, contender) => (workloads) => {
  const known = ratio(workload, contender)(workloads)
  return known && { median: 1 / known.median, min: 1 / known.max, max: 1 / known.min }
}

const value = (workload, what) => (workloads) => found(workloads, workload, 'snaptun')?.[what]

const atLeast = (limit, unit = 'x') => ({ limit, unit, more: true })
const atMost = (limit, unit = 'x') => ({ limit, unit, more: false })

const ROWS = [
  ['goodput, 1400 B, upload', 'snap-tun 0.8.6', atLeast(4.5), ratio('upload-1400', 'snap-tun')],
  ['goodput, 1400 B, download', 'snap-tun 0.8.6', atLeast(4.5), ratio('download-1400', 'snap-tun')],
  ['goodput, 1400 B, upload', 'node:dgram + node:crypto', atLeast(11), ratio('upload-1400', 'dgram-crypto')],
  ['goodput, 1400 B, download', 'node:dgram + node:crypto', atLeast(11), ratio('download-1400', 'dgram-crypto')],
  ['goodput, 1400 B, upload', 'one core of ChaCha20-Poly1305', atLeast(0.7), ratio('upload-1400', 'aead')],
  ['goodput, 1400 B, download', 'one core of ChaCha20-Poly1305', atLeast(0.7), ratio('download-1400', 'aead')],
  ['packets a second, 64 B, upload', 'node:dgram, in clear', atLeast(8), ratio('upload-64', 'dgram')],
  ['packets a second, 64 B, download', 'node:dgram, in clear', atLeast(8), ratio('download-64', 'dgram')],
  ['datagrams a second, 1200 B, one target', 'node:dgram, in clear', atLeast(10), ratio('datagrams-1200', 'dgram')],
  [
    ...['datagrams a second, 1200 B, another target each', 'node:dgram, in clear'],
    ...[atLeast(1.5), ratio('datagrams-1200-x64', 'dgram')],
  ],
  ['one packet to and fro, median', 'node:dgram, in clear', atMost(1.7), times('echo-64', 'dgram')],
  ['handshakes a second', 'bare Tunn, one core', atLeast(0.8), ratio('handshakes', 'tunn')],
  ['memory of an idle tunnel', 'bare Tunn', atMost(1.3), times('memory', 'tunn')],
  ['processor time of idle tunnels', '', atMost(3, '% of a core'), value('memory', 'idle')],
  ['event loop held up at full rate, p99', '', atMost(10, ' ms'), value('upload-1400', 'loop')],
  ['share of each of 64 tunnels, upload', 'the mean', atMost(20, '% off'), value('fair-upload', 'figure')],
  ['share of each of 64 tunnels, download', 'the mean', atMost(20, '% off'), value('fair-download', 'figure')],
  ['echo beside a flood, median', 'the quiet median', atMost(10), value('flooded', 'figure')],
]

/**
 * The rows of the table; those that the run did not measure are left out.
 * @param {ReturnType<import('./report.mjs').results>} workloads
 */
export function targets(workloads) {
  return ROWS.flatMap(([what, against, target, look]) => {
    const measured = look(workloads)
    if (!measured) return []
    const reached = target.more ? measured.median >= target.limit : measured.median <= target.limit
    return [{ what, against, ...target, measured, reached }]
  })
}

/** As cells, with a head. @param {ReturnType<typeof targets>} all */
export function rows(all) {
  return [
    ['target', 'against', 'wanted', 'measured', 'min … max', 'reached'],
    ...all.map(({ what, against, limit, unit, more, measured, reached }) => [
      what,
      against === '' ? '–' : against,
      `${more ? '≥' : '≤'} ${limit}${unit}`,
      `${measured.median.toFixed(2)}${unit}`,
      `${measured.min.toFixed(2)} … ${measured.max.toFixed(2)}`,
      reached ? 'yes' : 'NO',
    ]),
  ]
}

/** For the terminal. */
export function text(all) {
  return all.length === 0 ? 'This run measured nothing that there is a target for.' : aligned(rows(all)).join('\n')
}
