/**
 * What charts have in common, and which lines a chart over several workloads has.
 */

/** Colours that can be read on a light and on a dark page, without any script. Ours stands out. */
export const STYLE = `
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 15px; font-weight: 600 }
    .note { font-size: 11px; fill: #59636e }
    .grid { stroke: #d1d9e0; stroke-width: 1 }
    .bar { fill: #8c959f }
    .ours { fill: #0969da }
    .spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .note { fill: #9198a1 }
      .grid { stroke: #3d444d }
      .bar { fill: #6e7681 }
      .ours { fill: #4493f8 }
      .spread { stroke: #e6edf3 }
    }`

/** Text as it may stand in SVG. */
export const escaped = (text) => text.replace(/[&<>"]/g, (found) => `&#${found.charCodeAt(0)};`)

/** A whole picture. */
export function picture(title, width, height, style, rows) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">`,
    `  <style>${STYLE}${style}`,
    '  </style>',
    `  <text class="title" x="12" y="26">${escaped(title)}</text>`,
    ...rows.map((row) => `  ${row}`),
    '</svg>',
    '',
  ].join('\n')
}

/** Round steps for an axis from 0 to `most`: about five of them. */
export function ticks(most) {
  const rough = most / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough)
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, at) => Number((at * step).toPrecision(6)))
}

/** Contenders that a chart by size leaves out: too close to another one to be told apart. */
const LEFT_OUT = new Set(['snaptun-caller', 'snaptun-shard', 'tunn', 'udp'])

/**
 * Charts of goodput by the size of a packet, one for each direction that has at least three sizes.
 * @param {ReturnType<import('./report.mjs').results>} workloads
 */
export function bySize(workloads) {
  return ['upload', 'download', 'both'].flatMap((kind) => {
    const chosen = workloads.filter((one) => one.kind === kind && one.tunnels === 1)
    if (chosen.length < 3) return []
    const names = [...new Set(chosen.flatMap((one) => one.contenders.map(({ name }) => name)))]
    const series = names
      .filter((name) => !LEFT_OUT.has(name))
      .map((name) => {
        const found = chosen.flatMap(({ size, contenders }) => {
          const one = contenders.find((other) => other.name === name)
          return one?.goodput ? [{ title: one.title, x: size, ...one.goodput }] : []
        })
        return { name, title: found[0]?.title, points: found }
      })
      .filter(({ points }) => points.length > 1)
    return [{ name: `sizes-${kind}`, title: `Goodput by the size of a packet: ${kind}, one tunnel`, series }]
  })
}
