/**
 * Tunnels in several worker threads of one process (fixtures/workers.mjs), which has to end by itself.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, it, onTestFinished } from 'vitest'

/** Runs a scenario to the end of its process; fails unless that is a clean one, and returns what was printed. */
async function run(scenario: string): Promise<unknown> {
  const file = path.join(__dirname, 'fixtures/workers.mjs')
  const child = spawn(process.execPath, [file, scenario], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' })
  return JSON.parse(stdout)
}

/** A transfer of many packets, each of which came back unchanged, once, in order, and to the tunnel that sent it. */
const flawless = { sent: expect.toSatisfy((sent: number) => sent > 100, 'many'), wrong: 0 }

it('a worker that is terminated in the middle of a transfer takes down only its own tunnels', async () => {
  const { reports, codes, wentOn } = (await run('one is terminated')) as Record<string, unknown>
  expect(reports).toEqual([flawless, flawless, flawless])
  // Those that closed their tunnels ended by themselves.
  expect(codes).toEqual([0, 0])
  expect(wentOn).toBe(true)
})

it('workers may be terminated at any moment, and tunnels of other threads lose nothing', async () => {
  expect(await run('many are terminated')).toEqual(flawless)
}, 30_000)

it('closing settles whatever waits with the coded error, in the main thread and in a worker, and both end', async () => {
  const closed = 'ERR_SNAPTUN_CLOSED'
  const settled = {
    // Only its own signal ends it.
    connect: ['aborted'],
    ready: [closed],
    // As many as the queue holds were taken; nobody can say any more whether they would have been sent.
    send: [...Array(4).fill('queued'), ...Array(4).fill(closed)],
    sendBatch: [closed],
    writable: [closed],
    recv: [closed, closed],
    batches: [{ done: true }],
  }
  expect(await run('closed while all is pending')).toEqual({ main: settled, worker: settled, code: 0 })
})

it('a worker that is terminated while all that can wait does leaves nothing behind', async () => {
  const { code, report } = (await run('terminated while all is pending')) as Record<string, unknown>
  expect(code).toBe(1)
  expect(report).toEqual({ sent: expect.any(Number), wrong: 0 })
})
