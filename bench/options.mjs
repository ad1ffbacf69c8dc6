/**
 * What the command line says.
 */
import { parseArgs } from 'node:util'
import { contenders } from './contenders.mjs'
import { plan, workloads } from './plan.mjs'

const SOCKET_BUFFER = 4 << 20

/** How much of each run there is, by its extent: seconds of traffic, round trips, handshakes, and tunnels that are idle. */
const MEASURES = {
  quick: { rounds: 2, seconds: 1, echoes: 8000, handshakes: 1500, crowd: 2000, idle: 3, patience: 10 },
  usual: { rounds: 3, seconds: 1.5, echoes: 15_000, handshakes: 4000, crowd: 10_000, idle: 10, patience: 120 },
  all: { rounds: 5, seconds: 3, echoes: 20_000, handshakes: 6000, crowd: 10_000, idle: 20, patience: 600 },
}

export const HELP = `npm run bench -- [options]

  --quick           a rough picture in less than two minutes: what the targets are about, 2 rounds of 1 s
  --all             everything there is, 5 rounds of 3 s: about an hour and a half
  --check           compare ratios with the committed ones (--baseline), and fail where ours became worse
  --baseline NAME   name of the files in bench/results to compare with (default latest)
  --only NAME,…     only these contenders or workloads
  --rounds N        alternating rounds (default 3)
  --seconds S       length of a run (default 1.5)
  --name NAME       name of the files in bench/results (default: latest; quick or all with these options)
  --patience S      seconds in all to wait for a quiet machine, and to repeat runs that others disturbed
                    (default 120; 0: take it as it is)
  --no-build        measure what is built already
  --no-write        print only; also with --check
  --help

contenders
${contenders.map(({ name, about }) => `  ${name.padEnd(16)}  ${about}`).join('\n')}
workloads (* not in a run without --all or --only)
${workloads.map(({ name, title, usual }) => `  ${name.padEnd(18)}${usual ? ' ' : '*'} ${title}`).join('\n')}
`

/** Returns the options, or throws a sentence when they make no sense. */
export function options() {
  const { values } = parseArgs({
    options: {
      ...Object.fromEntries(
        ['quick', 'all', 'check', 'no-build', 'no-write', 'help'].map((name) => [
          name,
          { type: 'boolean', default: false },
        ]),
      ),
      ...Object.fromEntries(
        ['rounds', 'seconds', 'only', 'name', 'baseline', 'patience'].map((name) => [name, { type: 'string' }]),
      ),
    },
  })
  const { quick, all, check } = values
  if (quick && all) throw new Error('--quick and --all are two different things')
  const extent = quick ? 'quick' : all ? 'all' : 'usual'
  const normal = MEASURES[extent]
  const number = (option, least) => {
    const value = Number(values[option] ?? normal[option])
    if (!(value >= least)) throw new Error(`--${option} must be a number from ${least} on`)
    return value
  }
  const file = (option, usually) => {
    const name = values[option] ?? usually
    if (!/^[\w.-]+$/.test(name)) throw new Error(`--${option} is part of a file name`)
    return name
  }
  return {
    help: values.help,
    build: !values['no-build'],
    write: !values['no-write'] && !check,
    check,
    baseline: file('baseline', 'latest'),
    name: file('name', extent === 'usual' ? 'latest' : extent),
    rounds: Math.floor(number('rounds', 1)),
    patience: number('patience', 0),
    settings: { ...normal, seconds: number('seconds', 0.2), socketBuffer: SOCKET_BUFFER },
    workloads: plan(extent, values.only?.split(',') ?? []),
  }
}
