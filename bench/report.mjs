/**
 * What the rounds come to, and how a person reads it: a table in the terminal and one in Markdown.
 */
import { contender as named, OUR_SOCKET, OURS } from './contenders.mjs'
import { figures } from './figures.mjs'
import { summary } from './statistics.mjs'
import { aligned, markdownTable } from './table.mjs'
import { rows as targetRows } from './targets.mjs'

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
 * By how much the runs of the reference are better than another contender's, round by round: what slows the machine for a
 * while slows both of a round. Rounds in which others disturbed one of the two count where there are no others.
 */
function ratio(more, reference, other) {
  const of = (left, right) =>
    left.map((one, at) => (more ? one?.figure / right[at]?.figure : right[at]?.figure / one?.figure))
  return roundedSummary(of(undisturbed(reference), undisturbed(other))) ?? roundedSummary(of(reference, other))
}

/**
 * Brings the runs together.
 * @param {readonly import('./plan.mjs').Workload[]} workloads
 * @param {(workload: string, contender: string) => (object | undefined)[]} runs one a round; undefined: it failed
 */
export function results(workloads, runs) {
  return workloads.map((workload) => {
    const { name, title, kind, size, tunnels, reference, chart } = workload
    const { unit, digits, more } = figures[workload.figure]
    const head = runs(name, reference)
    return {
      ...{ name, title, kind, size, tunnels, reference, chart, unit, digits, more },
      contenders: workload.contenders.map((contender) => {
        const all = runs(name, contender)
        const own = undisturbed(all)
        const each = (what) => roundedSummary(own.map((run) => run?.[what]))
        return {
          name: contender,
          title: named(contender).title,
          figure: each('figure'),
          ratio: contender === reference ? null : ratio(more, head, all),
          ...Object.fromEntries(
            ['goodput', 'p99', 'lost', 'cpu', 'loop', 'idle', 'train'].map((what) => [what, each(what)]),
          ),
          failed: all.filter((run) => run === undefined).length,
          disturbed: all.filter((run) => run?.disturbed).length,
          rounds: all.map((run) => (run ? rounded(run.figure) : null)),
        }
      }),
    }
  })
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
  const whose = [OURS, OUR_SOCKET].includes(workload.reference) ? 'ours' : 'the first'
  return [
    ['', (one) => one.title],
    [workload.unit, (one) => (one.failed > 0 && !one.figure ? 'failed' : show(number, () => one.figure)(one))],
    ['min … max', (one) => (one.figure ? `${number(one.figure.min)} … ${number(one.figure.max)}` : dash)],
    [`${whose} is better by`, (one) => (one.ratio ? `${one.ratio.median.toFixed(2)}x` : dash)],
    ['min … max', (one) => (one.ratio ? `${one.ratio.min.toFixed(2)} … ${one.ratio.max.toFixed(2)}` : dash)],
    ['p99, µs', show(fixed(0), (one) => one.p99)],
    ['lost', show(percent, (one) => one.lost)],
    ['CPU µs/packet', show(fixed(2), (one) => one.cpu)],
    ['datagrams/call', show(fixed(1), (one) => one.train)],
    ['loop p99, ms', show(fixed(1), (one) => one.loop)],
    ['idle, % of a core', show(fixed(2), (one) => one.idle)],
  ].filter(([, cell], at) => at < 2 || workload.contenders.some((one) => cell(one) !== dash))
}

function table(workload) {
  const shown = columns(workload)
  return [shown.map(([title]) => title), ...workload.contenders.map((one) => shown.map(([, cell]) => cell(one)))]
}

/** For the terminal. */
export function text({ workloads }) {
  return workloads.map((workload) => [workload.title, ...aligned(table(workload))].join('\n')).join('\n\n')
}

/** What has to be known about figures before they are believed. */
export function conditions({ machine, settings, load, workloads }) {
  const all = workloads.flatMap((workload) => workload.contenders)
  const sum = (count) => all.reduce((total, one) => total + count(one), 0)
  const failed = sum((one) => one.failed)
  const limits = machine.rmemMax ? `, rmem_max ${machine.rmemMax}, wmem_max ${machine.wmemMax}` : ''
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}${limits}.`,
    `${settings.rounds} alternating rounds of ${settings.seconds} s (echo: ${settings.echoes} round trips, handshakes: ` +
      `${settings.handshakes}), over loopback; client and server ` +
      `${settings.pinned ? 'each on a core of its own' : 'not bound to cores'}; ` +
      `socket buffers of ${settings.socketBuffer} bytes asked for. Memory: ${settings.crowd} tunnels, once.`,
    `Load average ${load.before} before and ${load.after} after. In ${sum((one) => one.disturbed)} of ` +
      `${sum((one) => one.rounds.length)} runs others used more than a tenth of a core; those do not count where there ` +
      `are others${failed > 0 ? `; ${failed} runs failed` : ''}.`,
  ]
}

/** The same in Markdown, with the charts; `charts` are those over several workloads. */
export function markdown(report, charts) {
  const image = (title, name) => `![${title}](${report.name}-${name}.svg)`
  const parts = [
    `# Benchmark: ${report.name}`,
    `snaptun ${report.version}, ${report.date}.`,
    ...conditions(report),
    'Median, least and greatest of the rounds. «Ours is better by» is the first line against this one, round by round. ' +
      'How it is measured: [bench/README.md](../README.md).',
    '## Targets',
    markdownTable(targetRows(report.targets)),
    ...charts.map(({ title, name }) => image(title, name)),
  ]
  for (const workload of report.workloads) {
    parts.push(`## ${workload.title}`)
    if (workload.chart) parts.push(image(workload.title, workload.name))
    parts.push(markdownTable(table(workload)))
  }
  return `${parts.join('\n\n')}\n`
}
