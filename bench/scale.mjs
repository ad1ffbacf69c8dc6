/**
 * Many tunnels on one server, by itself: what the suite's row «memory» measures, with more to say. See crowd.mjs.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { killAllOnSignal } from './child.mjs'
import { crowd } from './crowd.mjs'

const { values } = parseArgs({
  options: {
    tunnels: { type: 'string', default: '10000' },
    idle: { type: 'string', default: '20' },
    help: { type: 'boolean', default: false },
  },
})

/** What a `Tunn` takes by itself, in bytes: `size_of` with `ring`, whose keys lie in it. (10,600 with `aws-lc-rs`.) */
const BARE_TUNN = 18_992

async function main() {
  const tunnels = Number(values.tunnels)
  const idle = Number(values.idle)
  const { report } = await crowd({ crowd: tunnels, idle })
  const { seconds, residentBytes, idlePercent, echoes } = report
  console.log(`${tunnels} tunnels on one shard, ${availableParallelism()} cores, Node ${process.versions.node}`)
  console.log(
    `opened             in ${seconds.toFixed(1)} s: ${Math.round(tunnels / seconds)} handshakes/s, both sides on this machine`,
  )
  console.log(
    `memory a tunnel    ${Math.round(residentBytes)} bytes, ${(residentBytes / BARE_TUNN).toFixed(2)} of a bare Tunn`,
  )
  console.log(`idle for ${idle} s      ${idlePercent.toFixed(2)}% of a core`)
  console.log(`echo               ${echoes} packets right, all tunnels still open`)
}

if (values.help) {
  console.log('node bench/scale.mjs [--tunnels 10000] [--idle 20]')
} else {
  killAllOnSignal()
  try {
    await main()
  } catch (error) {
    console.error(`scale: ${error.message}`)
    process.exitCode = 1
  }
}
