/**
 * The benchmark: ours and what could be taken in its place, side by side, in one run. See README.md.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { check, text as verdict } from './check.mjs'
import { killAllOnSignal } from './child.mjs'
import { contender } from './contenders.mjs'
import { figures } from './figures.mjs'
import { RESULTS, read, write } from './files.mjs'
import { measure } from './measure.mjs'
import { HELP, options } from './options.mjs'
import { Patience } from './patience.mjs'
import { prepare } from './prepare.mjs'
import { conditions, results, text } from './report.mjs'
import { load, machine, pinning } from './system.mjs'
import { targets, text as targetTable } from './targets.mjs'

/** One run of one contender, and a line about it. Returns undefined when it failed. */
async function turn(head, one, workload, settings, cores, patience) {
  try {
    const run = await patience.measure(() => measure(one, workload, settings, cores))
    const { unit, digits } = figures[workload.figure]
    const note = run.disturbed ? '  (others used the processors)' : ''
    console.log(`${head}  ${run.figure.toFixed(digits).padStart(8)} ${unit}${note}`)
    return run
  } catch (error) {
    console.log(`${head}  failed: ${error.message}`)
    return undefined
  }
}

/** All rounds. Returns the runs of a workload and contender, one a round. */
async function measureAll({ rounds, patience, settings, workloads }, cores) {
  const runs = new Map()
  const waiting = new Patience(patience, settings.seconds + 1)
  await waiting.wait()
  for (let round = 0; round < rounds; round++) {
    for (const workload of workloads) {
      if (round >= (workload.rounds ?? rounds)) continue
      const { contenders, name } = workload
      for (let at = 0; at < contenders.length; at++) {
        // Each round begins with another one, so that nobody always comes after the same.
        const one = contender(contenders[(at + round) % contenders.length])
        const head = `round ${round + 1}/${rounds}  ${name.padEnd(18)}  ${one.name.padEnd(16)}`
        const key = `${name} ${one.name}`
        const run = await turn(head, one, workload, settings, cores, waiting)
        runs.set(key, [...(runs.get(key) ?? []), run])
      }
    }
  }
  return (workload, name) => runs.get(`${workload} ${name}`) ?? []
}

async function main() {
  const asked = options()
  if (asked.help) {
    process.stdout.write(HELP)
    return
  }
  // Before minutes of measuring: it may not be there.
  const baseline = asked.check ? read(asked.baseline) : undefined
  if (asked.build)
    await prepare(new Set(asked.workloads.flatMap((one) => one.contenders.map((name) => contender(name).needs))))
  const cores = pinning()
  const before = load()
  const runs = await measureAll(asked, cores)
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const measured = results(asked.workloads, runs)
  const report = {
    name: asked.name,
    version,
    date: new Date().toISOString().slice(0, 10),
    machine: machine(),
    settings: { ...asked.settings, rounds: asked.rounds, pinned: cores.works },
    load: { before, after: load() },
    targets: targets(measured),
    workloads: measured,
  }
  console.log(`\n${text(report)}\n\n${targetTable(report.targets)}\n\n${conditions(report).join('\n')}`)
  if (asked.write) {
    write(report)
    console.log(`Written to ${fileURLToPath(RESULTS)}`)
  }
  if (report.workloads.some(({ contenders: all }) => all.some(({ failed }) => failed > 0))) process.exitCode = 1
  if (baseline !== undefined) {
    const found = check(baseline, report)
    console.log(`\n${verdict(found, asked.baseline)}`)
    if (found.failures.length > 0) process.exitCode = 1
  }
}

killAllOnSignal()

try {
  await main()
} catch (error) {
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
}
