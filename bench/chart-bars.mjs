/**
 * A bar chart of one workload.
 */
import { escaped, picture, ticks } from './charts.mjs'
import { OUR_SOCKET, OURS } from './contenders.mjs'

const WIDTH = 760
const LABELS = 200
const VALUES = 130
const ROW = 30
const BAR = 18
const TOP = 46
const AXIS = 24
const BOTTOM = 30

/** @param {ReturnType<import('./report.mjs').results>[number]} workload */
export function bars(workload) {
  const known = workload.contenders.filter((one) => one.figure)
  const most = Math.max(...known.map((one) => one.figure.max))
  const scale = (value) => Math.round(((WIDTH - LABELS - VALUES) * value * 10) / most) / 10
  const foot = TOP + known.length * ROW
  const height = foot + AXIS + BOTTOM
  const axis = ticks(most).flatMap((value) => [
    `<path class="grid" d="M${LABELS + scale(value)} ${TOP - 6}V${foot}"/>`,
    `<text class="note" x="${LABELS + scale(value)}" y="${foot + 16}" text-anchor="middle">${value}</text>`,
  ])
  const rows = known.flatMap((one, at) => {
    const { median, min, max } = one.figure
    const y = TOP + at * ROW
    const middle = y + BAR / 2
    const value = `${median.toFixed(workload.digits)}${one.ratio ? `  (${one.ratio.median.toFixed(1)}x)` : ''}`
    const [from, to] = [LABELS + scale(min), LABELS + scale(max)]
    const ours = ['core', OUR_SOCKET].includes(one.name) || one.name.startsWith(OURS)
    return [
      `<text x="${LABELS - 8}" y="${middle + 5}" text-anchor="end">${escaped(one.title)}</text>`,
      `<rect class="${ours ? 'ours' : 'bar'}" x="${LABELS}" y="${y}" width="${scale(median)}" height="${BAR}" rx="2"/>`,
      `<path class="spread" d="M${from} ${middle - 4}v8M${from} ${middle}H${to}M${to} ${middle - 4}v8"/>`,
      `<text x="${to + 8}" y="${middle + 5}">${escaped(value)}</text>`,
    ]
  })
  const note = `${workload.unit}, ${workload.more ? 'more' : 'less'} is better; median, least and greatest of the rounds; (by how much the first is better)`
  return picture(workload.title, WIDTH, height, '', [
    ...axis,
    ...rows,
    `<text class="note" x="12" y="${height - 10}">${escaped(note)}</text>`,
  ])
}
