// The stages of `npm test`, and the sum of what they ran.
'use strict'

const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { buildNative, buildTypeScript, install } = require('./build.cjs')
const { MINUTE, Stages } = require('./stages.cjs')

/** Tests that need root or Debian packages run only when this is set; .ci/run sets it. */
const PRIVILEGED = process.env.SNAPTUN_PRIVILEGED === '1'

const USAGE = `Usage: npm test [-- <part>...] [-- --verbose]

Parts: types rust simulated peers node (default: all)
  types   index.d.ts is what src/ says
  rust    the crates of the workspace
  peers   interoperation with the crate snap-tun, in crates/peers
  node    the addon and the TypeScript layer, by vitest

SNAPTUN_PRIVILEGED=1 also runs what needs root or Debian packages (see .ci/run).`

/** What a run of tests came to; `skips` names each skipped test, with the reason where it is known. */
function tally() {
  return { passed: 0, failed: 0, skipped: 0, skips: [] }
}

/** Reads what `cargo test` prints: one `test result:` line a test binary, and a line for each ignored test. */
function readCargo(output) {
  const sum = tally()
  for (const [, passed, failed, ignored] of output.matchAll(
    /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm,
  )) {
    sum.passed += Number(passed)
    sum.failed += Number(failed)
    sum.skipped += Number(ignored)
  }
  for (const [, name, why] of output.matchAll(/^test (.+) \.\.\. ignored(?:, (.+))?$/gm)) {
    sum.skips.push(why ? `${name}: ${why}` : name)
  }
  return sum
}

/** Reads the report of vitest's `json` reporter. */
function readVitest(report) {
  const sum = tally()
  for (const file of report.testResults) {
    for (const { status, fullName } of file.assertionResults) {
      if (status === 'passed' || status === 'failed') {
        sum[status]++
      } else {
        sum.skipped++
        sum.skips.push(`${path.basename(file.name)}: ${fullName}`)
      }
    }
  }
  return sum
}

function describe(sum) {
  return `${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`
}

/**
 * Makes a tally agree with how its command ended: a command that failed, or that ran no test at all,
 * is a failure, whatever the tests that it did run say.
 */
function settle(sum, ok) {
  if (sum.failed === 0 && (!ok || sum.passed === 0)) return { ...sum, failed: 1 }
  return sum
}

/** One test that is a command: it passes if the command does. */
function single(ok) {
  return { ...tally(), passed: ok ? 1 : 0, failed: ok ? 0 : 1 }
}

async function cargoTest(stages, title, cwd, workspace) {
  const command = ['cargo', 'test', '--locked', '--no-fail-fast', ...workspace]
  if (PRIVILEGED) command.push('--', '--include-ignored')
  const { ok, output } = await stages.run(title, command, {
    cwd,
    env: { ...process.env, CARGO_TERM_COLOR: 'never' },
    timeout: 25 * MINUTE,
    summarize: (output) => describe(readCargo(output)),
  })
  return settle(readCargo(output), ok)
}

/** Builds what the tests start: the tool that floods, and the control plane of the crate snap-control. */
async function buildPeers(stages, root) {
  const command = ['cargo', 'build', '--locked', '--features=control-plane', '--bin=flood', '--bin=snap-control']
  const cwd = path.join(root, 'crates/peers')
  return (await stages.run('building the peers that tests start', command, { cwd, timeout: 25 * MINUTE })).ok
}

async function vitest(stages, root) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'snaptun-test-'))
  const report = path.join(folder, 'report.json')
  const read = () => (fs.existsSync(report) ? readVitest(JSON.parse(fs.readFileSync(report, 'utf8'))) : tally())
  try {
    const { ok } = await stages.run(
      'testing the Node package',
      [
        process.execPath,
        path.join(root, 'node_modules/vitest/vitest.mjs'),
        'run',
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${report}`,
      ],
      { cwd: root, timeout: 15 * MINUTE, summarize: () => describe(read()) },
    )
    return settle(read(), ok)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** The tests of `npm test`, by the name that picks them; each returns its tally. `stages` is how many lines it shows. */
const parts = {
  types: {
    stages: 1,
    run: async (stages, root) => {
      const command = [process.execPath, path.join(root, 'scripts/types.mjs'), '--check']
      return single((await stages.run('checking index.d.ts against src/', command, { cwd: root })).ok)
    },
  },
  rust: {
    stages: 1,
    run: (stages, root) => cargoTest(stages, 'testing the Rust crates', root, ['--workspace']),
  },
  simulated: {
    stages: 1,
    // A build of its own: the feature changes every clock in it.
    run: (stages, root) =>
      cargoTest(stages, 'testing with a simulated clock', root, [
        '--package=snaptun',
        '--features=simulated-time',
        '--test=simulated',
        '--target-dir=target/simulated',
      ]),
  },
  peers: {
    stages: 1,
    run: (stages, root) => cargoTest(stages, 'testing against snap-tun', path.join(root, 'crates/peers'), []),
  },
  node: {
    stages: 4,
    // What doesn't build is one failure: its tests can't run.
    run: async (stages, root) => {
      for (const build of [buildTypeScript, buildNative, buildPeers]) {
        if (!(await build(stages, root))) return single(false)
      }
      return vitest(stages, root)
    },
  },
}

/** Runs the parts that `args` names, or all. Ends with a line that sums up, and sets the exit code. */
async function run(root, args) {
  const names = args.filter((arg) => !arg.startsWith('-'))
  const verbose = args.includes('--verbose')
  const unknown = args.find((arg) => (arg.startsWith('-') ? arg !== '--verbose' : !Object.hasOwn(parts, arg)))
  if (unknown) {
    console.log(USAGE)
    process.exitCode = ['-h', '--help'].includes(unknown) ? 0 : 1
    return
  }
  const chosen = Object.keys(parts).filter((name) => names.length === 0 || names.includes(name))
  const stages = new Stages(1 + chosen.reduce((sum, name) => sum + parts[name].stages, 0), { verbose })

  const total = tally()
  const add = (sum) => {
    for (const what of ['passed', 'failed', 'skipped']) total[what] += sum[what]
    for (const skip of sum.skips) console.log(`      skipped: ${skip}`)
  }
  if (await install(stages, root)) {
    for (const name of chosen) add(await parts[name].run(stages, root))
  } else {
    add(single(false))
  }
  stages.end()

  if (total.skipped > 0 && !PRIVILEGED) {
    console.log(
      'Tests that need root or Debian packages are skipped unless SNAPTUN_PRIVILEGED=1 is set; .ci/run sets it.',
    )
  }
  console.log(describe(total))
  process.exitCode = total.failed > 0 ? 1 : 0
}

module.exports = { readCargo, readVitest, run, settle }
