/**
 * The gate of the benchmark: that it lets pass what is as good as before, and nothing that has become worse.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'

interface Contender {
  name: string
  failed: number
  rounds: (number | null)[]
  ratio: { median: number; min: number; max: number } | null
}
interface Report {
  workloads: { name: string; contenders: Contender[] }[]
}
interface Verdict {
  compared: { workload: string; contender: string; was: number; is: number; change: number }[]
  failures: string[]
}

interface Gate {
  check: (baseline: Report, current: Report, tolerance?: number) => Verdict
  text: (verdict: Verdict, baseline: string) => string
  TOLERANCE: number
}

const bench = (file: string) => join(__dirname, '../bench', file)
const committed: Report = JSON.parse(readFileSync(bench('results/latest.json'), 'utf8'))
let gate: Gate

beforeAll(async () => {
  gate = (await import(bench('check.mjs'))) as Gate
})

/** A copy in which every ratio of a workload is another one. */
function doctored(report: Report, workload: string, change: (ratio: number) => number): Report {
  const copy = structuredClone(report)
  for (const one of copy.workloads.find(({ name }) => name === workload)?.contenders ?? []) {
    if (one.ratio) one.ratio.median = change(one.ratio.median)
  }
  return copy
}

describe('the check of the benchmark', () => {
  it('lets the committed run pass against itself', () => {
    const verdict = gate.check(committed, committed)
    expect(verdict.failures).toEqual([])
    expect(verdict.compared.length).toBeGreaterThan(10)
    expect(verdict.compared.every(({ change }) => change === 0)).toBe(true)
  })

  it('fails against a baseline that was better than the tolerance allows, and says where', () => {
    const better = doctored(committed, 'upload-1400', (ratio) => ratio / (1 - gate.TOLERANCE - 0.01))
    const verdict = gate.check(better, committed)
    expect(verdict.failures.length).toBeGreaterThan(1)
    expect(verdict.failures.every((failure) => failure.startsWith('upload-1400: ours against '))).toBe(true)
    expect(gate.text(verdict, 'latest')).toContain('Worse than the committed run')
  })

  it('lets pass what is worse by less than the tolerance, and what is better by any amount', () => {
    expect(
      gate.check(
        doctored(committed, 'upload-1400', (ratio) => ratio * (1 + gate.TOLERANCE)),
        committed,
      ).failures,
    ).toEqual([])
    expect(
      gate.check(
        doctored(committed, 'upload-1400', (ratio) => ratio / 10),
        committed,
      ).failures,
    ).toEqual([])
  })

  it('does not care how fast the machine is', () => {
    const slower = structuredClone(committed) as unknown as { workloads: { contenders: { figure: unknown }[] }[] }
    for (const { contenders } of slower.workloads) {
      for (const one of contenders) one.figure = { median: 1, min: 1, max: 1 }
    }
    expect(gate.check(committed, slower as unknown as Report).failures).toEqual([])
  })

  it('fails when a run failed, when a ratio is no number, and when there is nothing to compare', () => {
    const failed = structuredClone(committed)
    const [first] = failed.workloads[0]?.contenders ?? []
    if (first) first.failed = 1
    expect(gate.check(committed, failed).failures).toHaveLength(1)
    expect(
      gate.check(
        committed,
        doctored(committed, 'upload-1400', () => Number.NaN),
      ).failures,
    ).not.toEqual([])
    expect(gate.check(committed, { workloads: [] }).failures).toEqual([
      'the two runs have nothing in common that could be compared',
    ])
  })
})
