/**
 * A bar chart of one workload, as SVG: readable on a light and on a dark page, without any script.
 */
import { OURS } from './contenders.mjs'

const WIDTH = 760
const LABELS = 210
const VALUES = 120
const ROW = 30
const BAR = 18
const TOP = 46
const BOTTOM = 30

const STYLE = `
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 15px; font-weight: 600 }
    .note { font-size: 11px; fill: #59636e }
    .bar { fill: #8c959f }
    .ours { fill: #0969da }
    .spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .note { fill: #9198a1 }
      .bar { fill: #6e7681 }
      .ours { fill: #4493f8 }
      .spread { stroke: #e6edf3 }
    }`

const escaped = (text) => text.replace(/[&<>"]/g, (found) => `&#${found.charCodeAt(0)};`)

/** @param {ReturnType<import('./report.mjs').results>[number]} workload */
export function chart(workload) {
  const known = workload.contenders.filter((one) => one.figure)
  const most = Math.max(...known.map((one) => one.figure.max))
  const scale = (value) => Math.round(((WIDTH - LABELS - VALUES) * value * 10) / most) / 10
  const height = TOP + known.length * ROW + BOTTOM
  const rows = known.flatMap((one, at) => {
    const { median, min, max } = one.figure
    const y = TOP + at * ROW
    const middle = y + BAR / 2
    const value = `${median.toFixed(workload.digits)}${one.ratio ? `  (${one.ratio.median.toFixed(1)}x)` : ''}`
    const [from, to] = [LABELS + scale(min), LABELS + scale(max)]
    return [
      `<text x="${LABELS - 8}" y="${middle + 5}" text-anchor="end">${escaped(one.title)}</text>`,
      `<rect class="${one.name.startsWith(OURS) ? 'ours' : 'bar'}" x="${LABELS}" y="${y}" width="${scale(median)}" height="${BAR}" rx="2"/>`,
      `<path class="spread" d="M${from} ${middle - 4}v8M${from} ${middle}H${to}M${to} ${middle - 4}v8"/>`,
      `<text x="${to + 8}" y="${middle + 5}">${escaped(value)}</text>`,
    ]
  })
  const note = `${workload.unit}, ${workload.more ? 'more' : 'less'} is better; median, with the least and the greatest of the rounds; (by how much ours is better)`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(workload.title)}">`,
    `  <style>${STYLE}`,
    '  </style>',
    `  <text class="title" x="12" y="26">${escaped(workload.title)}</text>`,
    ...rows.map((row) => `  ${row}`),
    `  <text class="note" x="12" y="${height - 10}">${escaped(note)}</text>`,
    '</svg>',
    '',
  ].join('\n')
}
