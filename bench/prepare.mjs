/**
 * Builds what is measured, as `npm test` does.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))

const MINUTE = 60_000

/** Builds the package, and the harness over `snap-tun` if it is asked for. Throws when something can not be built. */
export async function prepare(withRust) {
  require('../scripts/toolchain.cjs').requireToolchain(root)
  const { buildNative, buildTypeScript, install } = require('../scripts/build.cjs')
  const { Stages } = require('../scripts/stages.cjs')
  const steps = [install, buildNative, buildTypeScript, ...(withRust ? [buildHarness] : [])]
  const stages = new Stages(steps.length)
  for (const step of steps) {
    if (!(await step(stages, root))) throw new Error('what is to be measured could not be built')
  }
  stages.end()
}

async function buildHarness(stages) {
  const manifest = ['--manifest-path', 'crates/peers/Cargo.toml', '--bin', 'snap-tun-bench']
  const command = ['cargo', 'build', '--release', '--locked', ...manifest]
  return (
    await stages.run('building the harness over snap-tun (release)', command, { cwd: root, timeout: 25 * MINUTE })
  ).ok
}
