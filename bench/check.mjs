/**
 * Whether ours has become slower than it was. Only ratios are compared: ours against another contender, measured side by
 * side, so that it does not matter how fast the machine is.
 */
import { aligned } from './table.mjs'

/**
 * By how much a ratio may be worse than the committed one. A choice, not a measurement: how far the medians of two runs of
 * the same build are apart is not known; README.md says what is.
 */
export const TOLERANCE = 0.3

/** @typedef {{ workload: string, contender: string, was: number, is: number | undefined, change: number }} Comparison */

const ratios = (report) =>
  report.workloads.flatMap(({ name, contenders }) =>
    contenders.flatMap((one) => (one.ratio ? [{ workload: name, contender: one.name, ratio: one.ratio.median }] : [])),
  )

/**
 * Compares what both runs measured.
 * @param {object} baseline the committed run
 * @param {object} current the run of now
 * @returns {{ compared: Comparison[], failures: string[] }}
 */
export function check(baseline, current, tolerance = TOLERANCE) {
  const committed = new Map(ratios(baseline).map((one) => [`${one.workload} ${one.contender}`, one.ratio]))
  const failures = current.workloads.flatMap(({ name, contenders }) =>
    contenders
      .filter((one) => one.failed > 0)
      .map((one) => `${name}, ${one.name}: ${one.failed} of ${one.rounds.length} runs failed`),
  )
  const compared = ratios(current).flatMap(({ workload, contender, ratio: is }) => {
    const was = committed.get(`${workload} ${contender}`)
    return was === undefined ? [] : [{ workload, contender, was, is, change: is / was - 1 }]
  })
  for (const { workload, contender, was, is, change } of compared) {
    // Also when it is no number at all.
    if (change >= -tolerance) continue
    failures.push(
      `${workload}: ours against ${contender} was better by ${was.toFixed(2)}, and is by ${is.toFixed(2)} (${percent(change)})`,
    )
  }
  if (compared.length === 0) failures.push('the two runs have nothing in common that could be compared')
  return { compared, failures }
}

const percent = (change) => `${change >= 0 ? '+' : ''}${(change * 100).toFixed(0)}%`

/** For the terminal. */
export function text({ compared, failures }, baseline, tolerance = TOLERANCE) {
  const table = aligned([
    [`against ${baseline}`, 'contender', 'was', 'is', 'change'],
    ...compared.map(({ workload, contender, was, is, change }) => [
      ...[workload, contender, `${was.toFixed(2)}x`, `${is.toFixed(2)}x`, percent(change)],
    ]),
  ])
  const verdict =
    failures.length === 0
      ? `No ratio is worse than the committed one by more than ${tolerance * 100}%.`
      : `Worse than the committed run by more than ${tolerance * 100}%, or failed:\n${failures.map((one) => `  ${one}`).join('\n')}`
  return [...table, '', verdict].join('\n')
}
