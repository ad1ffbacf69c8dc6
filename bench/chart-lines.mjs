/**
 * A line for each contender, over the size of a packet.
 */
import { escaped, picture, ticks } from './charts.mjs'
import { OURS } from './contenders.mjs'

const WIDTH = 760
const HEIGHT = 420
const LEFT = 56
const RIGHT = 190
const TOP = 46
const FOOT = HEIGHT - 62
/** Pixels between two labels at the ends of lines, at least. */
const LABEL = 17

/** Told apart by people who see red and green alike, too. */
const COLORS = ['#0969da', '#1b7c83', '#bf5700', '#8250df', '#6e7781', '#a0703c', '#bf3989', '#4c8c2b']
const DARK = ['#4493f8', '#39c5cf', '#f0883e', '#ab7df8', '#9198a1', '#d4a72c', '#f778ba', '#7ee787']

/** @param {ReturnType<import('./charts.mjs').bySize>[number]} chart */
export function lines({ title, series }) {
  const points = series.flatMap((one) => one.points)
  const sizes = [...new Set(points.map(({ x }) => x))].sort((a, b) => a - b)
  const most = Math.max(...points.map(({ max }) => max)) * 1.04
  const log = (value) => Math.log2(value / sizes[0]) / Math.log2(sizes.at(-1) / sizes[0])
  const x = (value) => Math.round(LEFT + log(value) * (WIDTH - LEFT - RIGHT))
  const y = (value) => Math.round(FOOT - (value / most) * (FOOT - TOP))
  const grid = ticks(most).flatMap((value) => [
    `<path class="grid" d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}"/>`,
    `<text class="note" x="${LEFT - 8}" y="${y(value) + 4}" text-anchor="end">${value}</text>`,
  ])
  // 1,200 and 1,400 are too close for two labels.
  const labels = sizes
    .filter((size, at) => at === 0 || x(size) - x(sizes[at - 1]) > 24)
    .map((size) => `<text class="note" x="${x(size)}" y="${FOOT + 18}" text-anchor="middle">${size}</text>`)
  const drawn = series.map((one, at) => {
    const path = one.points.map((point, step) => `${step ? 'L' : 'M'}${x(point.x)} ${y(point.median)}`).join('')
    const dots = one.points.map(
      (point) => `<circle class="dot${at}" cx="${x(point.x)}" cy="${y(point.median)}" r="3"/>`,
    )
    const width = one.name === OURS ? 3 : 1.75
    return `<path class="line${at}" stroke-width="${width}" fill="none" d="${path}"/>${dots.join('')}`
  })
  return picture(title, WIDTH, HEIGHT, style(series.length), [
    ...grid,
    ...labels,
    ...drawn,
    ...names(series, y),
    `<text class="note" x="12" y="${HEIGHT - 12}">Gbit/s of payload delivered, more is better; bytes a packet, in powers of two; medians of the rounds</text>`,
  ])
}

/** The names at the lines' ends, moved apart where lines end close to each other. */
function names(series, y) {
  const ends = series
    .map((one, at) => ({ at, title: one.title, y: y(one.points.at(-1).median) }))
    .sort((a, b) => a.y - b.y)
  let free = TOP
  for (const end of ends) {
    end.y = Math.max(end.y, free)
    free = end.y + LABEL
  }
  return ends.map(
    (end) => `<text class="name${end.at}" x="${WIDTH - RIGHT + 12}" y="${end.y + 4}">${escaped(end.title)}</text>`,
  )
}

function style(count) {
  const rules = (colors, indent) =>
    Array.from({ length: count }, (_, at) => {
      const color = colors[at % colors.length]
      return `\n${indent}.line${at} { stroke: ${color} } .dot${at}, text.name${at} { fill: ${color} }`
    }).join('')
  return `${rules(COLORS, '    ')}\n    @media (prefers-color-scheme: dark) {${rules(DARK, '      ')}\n    }`
}
