/**
 * The benchmark: ours and what could be taken in its place, side by side, in one run. See README.md.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { chart } from './chart.mjs'
import { killAllOnSignal } from './child.mjs'
import { contenders } from './contenders.mjs'
import { measure } from './measure.mjs'
import { prepare } from './prepare.mjs'
import { conditions, markdown, results, text } from './report.mjs'
import { load, machine, pinning, untilQuiet } from './system.mjs'
import { workloads } from './workloads.mjs'

const SOCKET_BUFFER = 4 << 20
const RESULTS = new URL('results/', import.meta.url)

const HELP = `npm run bench -- [options]

  --quick           a rough picture in less than two minutes: 2 rounds of 1 s, the main contenders
  --rounds N        alternating rounds (default 7)
  --seconds S       length of a run (default 4)
  --count N         round trips in a run of echoes (default 20000)
  --only NAME,…     only these contenders or workloads
  --name NAME       name of the files in bench/results (default latest)
  --patience S      seconds in all to wait for a quiet machine, and to repeat runs that others disturbed
                    (default 600; 0: take it as it is)
  --no-build        measure what is built already
  --no-write        print only
  --help

contenders
${contenders.map(({ name, about }) => `  ${name.padEnd(16)}  ${about}`).join('\n')}
workloads
${workloads.map(({ name, title }) => `  ${name.padEnd(16)}  ${title}`).join('\n')}
`

/** What the command line says; throws a sentence when it makes no sense. */
function parse() {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      count: { type: 'string' },
      only: { type: 'string' },
      name: { type: 'string', default: 'latest' },
      patience: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
      'no-write': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const number = (option, normal, least) => {
    const value = Number(values[option] ?? normal)
    if (!(value >= least)) throw new Error(`--${option} must be a number from ${least} on`)
    return value
  }
  const { quick } = values
  if (!/^[\w.-]+$/.test(values.name)) throw new Error('--name is part of a file name')
  return {
    help: values.help,
    build: !values['no-build'],
    write: !values['no-write'],
    name: values.name,
    rounds: Math.floor(number('rounds', quick ? 2 : 7, 1)),
    seconds: number('seconds', quick ? 1 : 4, 0.2),
    count: Math.floor(number('count', quick ? 8000 : 20_000, 1)),
    patience: number('patience', quick ? 15 : 600, 0),
    ...select(values.only?.split(',') ?? [], quick),
  }
}

/** Who and what is measured. A name that selects no contender leaves all of them, and the same with workloads. */
function select(names, quick) {
  const unknown = names.find((name) => ![...contenders, ...workloads].some((one) => one.name === name))
  if (unknown !== undefined) throw new Error(`there is no contender and no workload '${unknown}'`)
  const named = (list) => list.filter(({ name }) => names.includes(name))
  const [who, what] = [named(contenders), named(workloads)]
  return {
    contenders: who.length > 0 ? who : contenders.filter(({ always }) => always || !quick),
    workloads: what.length > 0 ? what : workloads,
  }
}

/** Seconds that are left to wait for others, and to repeat what they disturbed. */
class Patience {
  #left
  #run

  /** @param {number} seconds in all  @param {number} run seconds that a run takes */
  constructor(seconds, run) {
    this.#left = seconds
    this.#run = run
  }

  /** Waits until nobody else uses the processors, or it is over. */
  async wait() {
    if (this.#left <= 0) return
    const start = performance.now()
    const note = setTimeout(() => console.log('waiting until others leave the processors alone…'), 2000)
    await untilQuiet(this.#left)
    clearTimeout(note)
    this.#left -= (performance.now() - start) / 1000
  }

  /** Measures once, and again while others disturb and there is time left. */
  async measure(once) {
    for (;;) {
      const run = await once()
      if (!run.disturbed || this.#left <= 0) return run
      // What is repeated takes its time from it too, or a busy machine would keep us for ever.
      this.#left -= this.#run
      await this.wait()
    }
  }
}

/** All rounds. Returns the runs of a workload and contender, one a round. */
async function rounds(options, cores) {
  const runs = new Map()
  const patience = new Patience(options.patience, options.seconds + 1)
  await patience.wait()
  const settings = { seconds: options.seconds, count: options.count, socketBuffer: SOCKET_BUFFER }
  for (let round = 0; round < options.rounds; round++) {
    for (const workload of options.workloads) {
      for (let turn = 0; turn < options.contenders.length; turn++) {
        // Each round begins with another one, so that nobody always comes after the same.
        const contender = options.contenders[(turn + round) % options.contenders.length]
        const key = `${workload.name} ${contender.name}`
        const head = `round ${round + 1}/${options.rounds}  ${workload.name.padEnd(13)}  ${contender.name.padEnd(14)}`
        let run
        try {
          run = await patience.measure(() => measure(contender, workload, settings, cores))
          const note = run.disturbed ? '  (others used the processors)' : ''
          console.log(`${head}  ${run.figure.toFixed(workload.digits).padStart(7)} ${workload.unit}${note}`)
        } catch (error) {
          console.log(`${head}  failed: ${error.message}`)
        }
        runs.set(key, [...(runs.get(key) ?? []), run])
      }
    }
  }
  return (workload, contender) => runs.get(`${workload} ${contender}`) ?? []
}

function write(report) {
  mkdirSync(RESULTS, { recursive: true })
  const save = (file, content) => writeFileSync(new URL(file, RESULTS), content)
  save(`${report.name}.json`, `${JSON.stringify(report, null, 2)}\n`)
  save(`${report.name}.md`, markdown(report))
  for (const workload of report.workloads) {
    if (workload.contenders.some(({ figure }) => figure)) save(`${report.name}-${workload.name}.svg`, chart(workload))
  }
}

async function main() {
  const options = parse()
  if (options.help) {
    process.stdout.write(HELP)
    return
  }
  if (options.build) await prepare(options.contenders.some(({ rust }) => rust))
  const cores = pinning()
  const before = load()
  const runs = await rounds(options, cores)
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const report = {
    name: options.name,
    version,
    date: new Date().toISOString().slice(0, 10),
    machine: machine(),
    settings: {
      rounds: options.rounds,
      seconds: options.seconds,
      count: options.count,
      socketBuffer: SOCKET_BUFFER,
      pinned: cores.works,
    },
    load: { before, after: load() },
    workloads: results(options.workloads, options.contenders, runs),
  }
  console.log(`\n${text(report)}\n\n${conditions(report).join('\n')}`)
  if (options.write) {
    write(report)
    console.log(`Written to ${fileURLToPath(RESULTS)}`)
  }
  if (report.workloads.some(({ contenders: all }) => all.some(({ failed }) => failed > 0))) process.exitCode = 1
}

killAllOnSignal()

try {
  await main()
} catch (error) {
  console.error(`bench: ${error.message}`)
  process.exitCode = 1
}
