import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'

const SCENARIO = path.join(__dirname, 'fixtures/udp-scenario.mjs')

interface Running {
  child: ChildProcess
  /** What it has printed so far. */
  output: { stdout: string; stderr: string }
  /** Settles when the process has ended. */
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>
}

/** Starts a scenario in a process of its own, which the end of the test outlives by nothing. */
function start(scenario: string): Running {
  const child = spawn(process.execPath, ['--expose-gc', SCENARIO, scenario], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text
    })
  }
  const ended = once(child, 'close').then(([code]) => ({ ...output, code }))
  return { child, output, ended }
}

describe('a process with sockets', () => {
  it.each([
    ['ends by itself when all are closed', 'closed', 0, 'closed\n'],
    ['ends although one is open, after unref', 'unref', 0, 'unref\n'],
    ['learns that close is done, also after unref', 'close after unref', 0, 'closed\n'],
    ['ends by process.exit in the middle of it', 'exit', 7, ''],
    ['has no unhandled rejection when it closes with everything pending', 'no loose ends', 0, 'closed\n'],
    ['sees the error of a listener as uncaught', 'listener throws', 0, 'closed\nuncaught: from a listener\n'],
    ['can have them in worker threads, which may end at any moment', 'workers', 0, 'still alive\n'],
  ])('%s', async (_, scenario, code, stdout) => {
    const outcome = await start(scenario).ended
    const lines = (text: string) => text.split('\n').sort()
    expect({ ...outcome, stdout: lines(outcome.stdout) }).toEqual({ code, stdout: lines(stdout), stderr: '' })
  })

  it.each(['open', 'unref and ref'])('stays alive: %s', async (scenario) => {
    const { child, output } = start(scenario)
    while (output.stdout !== 'open\n') await once(child.stdout as NodeJS.ReadableStream, 'data')
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(child.exitCode).toBeNull()
  })

  it.runIf(process.platform === 'linux')(
    'gets everything back that 2,000 of them took',
    async () => {
      const { stdout, stderr } = await start('many, one after the other').ended
      expect(stderr).toBe('')
      const { before, after } = JSON.parse(stdout)
      expect(after.descriptors).toBe(before.descriptors)
      expect(after.external - before.external).toBeLessThan(2 ** 20)
      // One that is not released is at least its ring, of which some pages were used: 16 KiB.
      expect(after.rss - before.rss).toBeLessThan(2000 * 4096)
    },
    30_000,
  )
})
