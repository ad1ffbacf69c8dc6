/**
 * The files in results/.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { bars } from './chart-bars.mjs'
import { lines } from './chart-lines.mjs'
import { bySize } from './charts.mjs'
import { markdown } from './report.mjs'

export const RESULTS = new URL('results/', import.meta.url)

/** What a run found, by its name. Throws a sentence when there is no such run. */
export function read(name) {
  try {
    return JSON.parse(readFileSync(new URL(`${name}.json`, RESULTS), 'utf8'))
  } catch (error) {
    throw new Error(`bench/results/${name}.json can't be read: ${error.message}`)
  }
}

/** Writes the JSON, the Markdown and the charts; charts of the same name from before go. */
export function write(report) {
  mkdirSync(RESULTS, { recursive: true })
  const old = (file) => file.startsWith(`${report.name}-`) && file.endsWith('.svg')
  for (const file of readdirSync(RESULTS).filter(old)) rmSync(new URL(file, RESULTS))
  const save = (file, content) => writeFileSync(new URL(file, RESULTS), content)
  save(`${report.name}.json`, `${JSON.stringify(report, null, 2)}\n`)
  const sizes = bySize(report.workloads)
  for (const chart of sizes) save(`${report.name}-${chart.name}.svg`, lines(chart))
  for (const workload of report.workloads.filter(({ chart }) => chart)) {
    save(`${report.name}-${workload.name}.svg`, bars(workload))
  }
  save(`${report.name}.md`, markdown(report, sizes))
}
