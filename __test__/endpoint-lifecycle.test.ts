/**
 * What an endpoint leaves of a process: nothing, when nothing is open or under way any more.
 */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { ControlPlaneProcess } from './control-plane-process.ts'
import { TokenIssuer } from './tokens.ts'

/**
 * Runs a scenario with its arguments, and gives what it printed. Fails if that takes more than a few seconds, or it
 * does not end well.
 */
async function scenario(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const program = path.join(__dirname, 'fixtures/endpoint.mjs')
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [program, ...args], { timeout: 8000 })
  return { stdout, stderr }
}

it.each([
  ['closed', '20\n'],
  ['last tunnel closed', 'closed\n'],
  ['refused', 'ERR_SNAPTUN_TOKEN_REFUSED\n'],
])('a process ends by itself, and at once, after it used a real control plane: %s', async (name, stdout) => {
  const issuer = new TokenIssuer()
  const control = await ControlPlaneProcess.start({ 'token-key': issuer.key })
  const began = performance.now()
  expect(await scenario(name, control.url, issuer.issue())).toEqual({ stdout, stderr: '' })
  // A connection that is kept for the next call would hold it for five seconds.
  expect(performance.now() - began).toBeLessThan(4000)
})

it('a process waits for a connect that is tried again', async () => {
  const stdout = 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE\n'
  expect(await scenario('control plane down', '', 'token')).toEqual({ stdout, stderr: '' })
})

it.each([
  ['nothing but renewals', ['unref']],
  ['listener throws', ['connected all the same', 'uncaught: from a listener']],
  ['control plane throws in the end', ['ERR_SNAPTUN_CONTROL_PLANE_REFUSED', 'uncaught: from close']],
  ['no loose ends', ['closed']],
])('a process ends by itself: %s', async (name, lines) => {
  const { stdout, stderr } = await scenario(name)
  expect(stdout.trimEnd().split('\n').sort()).toEqual(lines)
  expect(stderr).toBe('')
})
