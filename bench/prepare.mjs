/**
 * Builds what is measured, as `npm test` does.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))

const MINUTE = 60_000
const PEERS = ['--manifest-path', 'crates/peers/Cargo.toml']

/**
 * Builds the package, and what the contenders need beside it. Throws when something can not be built.
 * @param {ReadonlySet<'peers' | 'core' | undefined>} needs
 */
export async function prepare(needs) {
  require('../scripts/toolchain.cjs').requireToolchain(root)
  const { buildNative, buildTypeScript, install } = require('../scripts/build.cjs')
  const { Stages } = require('../scripts/stages.cjs')
  const extra = Object.entries(RUST).filter(([name]) => needs.has(name))
  const steps = [install, buildNative, buildTypeScript, ...extra.map(([, step]) => step)]
  const stages = new Stages(steps.length)
  for (const step of steps) {
    if (!(await step(stages, root))) throw new Error('what is to be measured could not be built')
  }
  stages.end()
}

/** What is built with cargo beside the addon. */
const RUST = {
  core: (stages) => cargo(stages, 'our core without Node', ['--package', 'snaptun', '--example', 'core_bench']),
  peers: (stages) => cargo(stages, 'the harness over snap-tun', [...PEERS, '--bin', 'snap-tun-bench']),
  flood: (stages) => cargo(stages, 'the tool that floods', [...PEERS, '--bin', 'flood']),
}

async function cargo(stages, what, options) {
  const command = ['cargo', 'build', '--release', '--locked', ...options]
  return (await stages.run(`building ${what} (release)`, command, { cwd: root, timeout: 25 * MINUTE })).ok
}
