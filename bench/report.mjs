/**
 * What the rounds come to, and how a person reads it: a table in the terminal and one in Markdown.
 */
import { OURS } from './contenders.mjs'
import { summary } from './statistics.mjs'

/** Significant digits that are kept in files. */
const PRECISION = 5

const rounded = (value) => (typeof value === 'number' ? Number(value.toPrecision(PRECISION)) : value)

function roundedSummary(values) {
  const found = summary(values)
  return found && { median: rounded(found.median), min: rounded(found.min), max: rounded(found.max) }
}

/** Leaves out the runs that others disturbed, unless there are no others. */
function undisturbed(runs) {
  const kept = runs.map((run) => (run?.disturbed ? undefined : run))
  return kept.some((run) => run !== undefined) ? kept : runs
}

/**
 * Brings the runs together.
 * @param {readonly import('./workloads.mjs').Workload[]} workloads
 * @param {typeof import('./contenders.mjs').contenders} contenders
 * @param {(workload: string, contender: string) => (object | undefined)[]} runs one a round; undefined: it failed
 */
export function results(workloads, contenders, runs) {
  return workloads.map(({ name, title, unit, digits, more }) => ({
    name,
    title,
    unit,
    digits,
    more,
    contenders: contenders.map((contender) => {
      const all = runs(name, contender.name)
      const own = undisturbed(all)
      const ours = undisturbed(runs(name, OURS))
      // Round by round: what slows the machine for a while slows both of a round.
      const ratio = (at) => (more ? ours[at]?.figure / own[at]?.figure : own[at]?.figure / ours[at]?.figure)
      return {
        name: contender.name,
        title: contender.title,
        figure: roundedSummary(own.map((run) => run?.figure)),
        ratio: contender.name === OURS ? null : roundedSummary(own.map((_, at) => ratio(at))),
        p99: roundedSummary(own.map((run) => run?.p99)),
        lost: roundedSummary(own.map((run) => run?.lost)),
        cpu: roundedSummary(own.map((run) => run?.cpu)),
        failed: all.filter((run) => run === undefined).length,
        disturbed: all.filter((run) => run?.disturbed).length,
        rounds: all.map((run) => run && rounded(run.figure)).map((figure) => figure ?? null),
      }
    }),
  }))
}

const dash = '–'
const fixed = (digits) => (value) => value.toFixed(digits)
const percent = (value) => `${(value * 100).toFixed(1)}%`

/** Columns of a workload's table: title, and what to show of a contender. Those that nobody has a value for are left out. */
function columns(workload) {
  const show = (format, pick) => (contender) => {
    const found = pick(contender)
    return found ? format(found.median) : dash
  }
  const number = fixed(workload.digits)
  return [
    ['', (one) => one.title],
    [workload.unit, (one) => (one.failed > 0 && !one.figure ? 'failed' : show(number, () => one.figure)(one))],
    ['min … max', (one) => (one.figure ? `${number(one.figure.min)} … ${number(one.figure.max)}` : dash)],
    ['ours is better by', (one) => (one.ratio ? `${one.ratio.median.toFixed(2)}x` : dash)],
    ['min … max', (one) => (one.ratio ? `${one.ratio.min.toFixed(2)} … ${one.ratio.max.toFixed(2)}` : dash)],
    ['p99', show(number, (one) => one.p99)],
    ['lost', show(percent, (one) => one.lost)],
    ['CPU µs/packet', show(fixed(2), (one) => one.cpu)],
  ].filter(([, cell], at) => at < 2 || workload.contenders.some((one) => cell(one) !== dash))
}

function table(workload) {
  const shown = columns(workload)
  return [shown.map(([title]) => title), ...workload.contenders.map((one) => shown.map(([, cell]) => cell(one)))]
}

function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))),
  )
}

/** For the terminal. */
export function text({ workloads }) {
  return workloads
    .map((workload) => {
      const lines = aligned(table(workload)).map((row) => `  ${row.join('  ')}`.trimEnd())
      return [workload.title, ...lines].join('\n')
    })
    .join('\n\n')
}

/** What has to be known about figures before they are believed. */
export function conditions({ machine, settings, load, workloads }) {
  const all = workloads.flatMap((workload) => workload.contenders)
  const disturbed = all.reduce((sum, one) => sum + one.disturbed, 0)
  const failed = all.reduce((sum, one) => sum + one.failed, 0)
  const runs = all.length * settings.rounds
  const limits = machine.rmemMax ? `, rmem_max ${machine.rmemMax}, wmem_max ${machine.wmemMax}` : ''
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}${limits}.`,
    `${settings.rounds} alternating rounds of ${settings.seconds} s (echo: ${settings.count} round trips), over loopback; ` +
      `client and server ${settings.pinned ? 'each on a core of its own' : 'not bound to cores'}; ` +
      `socket buffers of ${settings.socketBuffer} bytes asked for.`,
    `Load average ${load.before} before and ${load.after} after. In ${disturbed} of ${runs} runs others used more than ` +
      `a tenth of a core; those do not count where there are others${failed > 0 ? `; ${failed} runs failed` : ''}.`,
  ]
}

/** The same in Markdown, with the charts. */
export function markdown(report) {
  const parts = [`# Benchmark: ${report.name}`, `snaptun ${report.version}, ${report.date}.`, ...conditions(report)]
  parts.push(
    'Median, least and greatest of the rounds. «Ours is better by» is the first line against this one, round by round. ' +
      'How it is measured: [bench/README.md](../README.md).',
  )
  for (const workload of report.workloads) {
    const [head, ...rows] = aligned(table(workload))
    const line = (cells) => `| ${cells.join(' | ')} |`
    const rule = line(head.map((cell, column) => (column === 0 ? '-' : '-:').padStart(Math.max(cell.length, 2), '-')))
    parts.push(
      `## ${workload.title}`,
      `![${workload.title}](${report.name}-${workload.name}.svg)`,
      [line(head), rule, ...rows.map(line)].join('\n'),
    )
  }
  return `${parts.join('\n\n')}\n`
}
