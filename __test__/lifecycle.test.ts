import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'

const ROOT = path.join(__dirname, '..')
const SCENARIO = path.join(__dirname, 'fixtures/scenario.mjs')

interface Outcome {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

interface Running {
  child: ChildProcess
  /** Settles when the process has ended. */
  ended: Promise<Outcome>
  /** Settles when it has printed `text`. */
  printed(text: string): Promise<void>
}

/** Starts a scenario in a process of its own, which the end of the test outlives by nothing. */
function start(scenario: string): Running {
  const child = spawn(process.execPath, [SCENARIO, scenario], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const outcome: Outcome = { code: null, signal: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    outcome.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    outcome.stderr += text
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ ...outcome, code, signal }))
  const printed = async (text: string): Promise<void> => {
    while (!outcome.stdout.includes(text)) {
      if (child.exitCode !== null) expect.fail(`it ended before it printed ${text}: ${outcome.stderr}`)
      await Promise.race([once(child.stdout, 'data'), ended])
    }
  }
  return { child, ended, printed }
}

const run = (scenario: string): Promise<Outcome> => start(scenario).ended

/** An end without an error, after it printed this. */
const cleanly = (stdout: string): Outcome => ({ code: 0, signal: null, stdout, stderr: '' })

describe('a process', () => {
  it('ends by itself when all is closed', async () => {
    expect(await run('closed')).toEqual(cleanly('closed\n'))
  })

  it.each(['open', 'open server', 'unref and ref'])('stays alive: %s', async (scenario) => {
    const { child, ended, printed } = start(scenario)
    await printed('open')
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(child.exitCode).toBeNull()
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ signal: 'SIGTERM' })
  })

  it('ends although server and tunnel are open, after unref', async () => {
    expect(await run('unref')).toEqual(cleanly('unref\n'))
  })

  it('learns that close is done, also after unref', async () => {
    expect(await run('close after unref')).toEqual(cleanly('closed\n'))
  })

  it('ends by process.exit in the middle of a transfer', async () => {
    expect(await run('exit')).toEqual({ code: 7, signal: null, stdout: '', stderr: '' })
  })

  it('ends by an uncaught error in the middle of a transfer', async () => {
    const outcome = await run('uncaught')
    expect(outcome).toMatchObject({ code: 1, signal: null })
    expect(outcome.stderr).toContain('Error: on purpose')
  })

  it('has no unhandled rejection when it closes with everything pending and nothing awaited', async () => {
    expect(await run('no loose ends')).toEqual(cleanly('ERR_SNAPTUN_CONNECT_TIMEOUT\n'))
  })

  it('sees the error of a listener as uncaught, and nothing is lost by it', async () => {
    const outcome = await run('listener throws')
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    expect(outcome.stdout.split('\n').sort()).toEqual(['', 'delivered all the same', 'uncaught: from a listener'])
  })

  // Some systems let everybody have every port, as containers often do.
  const start1024 = '/proc/sys/net/ipv4/ip_unprivileged_port_start'
  const restricted = process.platform !== 'win32' && (!existsSync(start1024) || Number(readFileSync(start1024)) > 1)
  it.skipIf(!restricted)('without privileges gets no port below 1024, and a coded error', async () => {
    const { stdout, code } = await run('privileges')
    expect(stdout).toMatch(/^ERR_SNAPTUN_PERMISSION .*127\.0\.0\.1:1\n$/)
    expect(code).toBe(0)
  })
})

describe('a worker thread', () => {
  it('takes down only its own tunnels when it is terminated in the middle of a transfer', async () => {
    expect(await run('terminated worker')).toEqual(cleanly('still alive\n'))
  })

  it('can come and go many times', async () => {
    expect(await run('many workers, one after the other')).toEqual(cleanly('closed\n'))
  })

  it('can have a server of its own, and ends by itself when that is closed', async () => {
    expect(await run('worker with a server')).toEqual(cleanly('through a worker\nworker ended with 0\n'))
  })
})

describe('the package', () => {
  const NAMES = [
    'ConnectControlPlane',
    'ServerTunnel',
    'SnapTunEndpoint',
    'SnapTunError',
    'SnapTunServer',
    'SnapTunServerCore',
    'SnapTunnel',
    'UdpBatchSocket',
    'generatePrivateKey',
    'publicKey',
  ]
  const evaluate = (type: string, code: string, cwd = ROOT): string =>
    execFileSync(process.execPath, [`--input-type=${type}`, '-e', code], { cwd, encoding: 'utf8' })

  it('has the same names by import and by require', () => {
    // What else an import shows (`default`, `module.exports`, `__esModule`) is Node's doing.
    const print =
      'process.stdout.write(Object.keys(all).filter((k) => /^[a-z]+$/i.test(k) && k !== "default").sort().join())'
    expect(evaluate('module', `import * as all from 'snaptun'; ${print}`)).toBe(NAMES.join())
    expect(evaluate('commonjs', `const all = require('snaptun'); ${print}`)).toBe(NAMES.join())
  })

  it('is one and the same by import and by require', () => {
    const code = `import { SnapTunnel } from 'snaptun'; import { createRequire } from 'node:module'
      process.stdout.write(String(createRequire(process.cwd() + '/x.js')('snaptun').SnapTunnel === SnapTunnel))`
    expect(evaluate('module', code)).toBe('true')
  })

  it('says what to type when its native part is missing', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'snaptun-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    for (const name of ['dist', 'package.json'])
      cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true })
    const code = `const { SnapTunServer, generatePrivateKey } = require('snaptun')
      SnapTunServer.listen({ privateKey: generatePrivateKey() }).catch((error) => console.log(error.code, error.message))`
    const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'))
    const said = evaluate('commonjs', code, folder)
    const name = `snaptun-${process.platform}-${process.arch}`
    expect(said).toMatch(/^ERR_SNAPTUN_ADDON the package /)
    expect(said).toContain(name)
    expect(said).toMatch(new RegExp(`npm install ${name}[-a-z]*@${version.replaceAll('.', '\\.')}`))
  })

  it('loads its native part only when it is needed', () => {
    const code = `const { generatePrivateKey, publicKey } = require('snaptun'); publicKey(generatePrivateKey())
      process.stdout.write(String(Object.keys(require.cache).some((file) => file.endsWith('.node'))))`
    expect(evaluate('commonjs', code)).toBe('false')
  })
})
