/**
 * What `npm start` and `npm test` do before anything is built: stop at once, with one sentence, where
 * something is missing; and how `npm test` counts.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import ts from 'typescript'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

interface Probe {
  status: number | null
  stdout: string
  error?: { code: string }
}
interface Tally {
  passed: number
  failed: number
  skipped: number
  skips: string[]
}

const root = path.join(__dirname, '..')
const load = createRequire(__filename)
const toolchain: {
  cargoProblem(probe: Probe, lowest: string): string | null
  compilerProblem(probe: Probe, platform: string): string | null
  lowestNode(packageJson: string): string
  lowestRust(cargoToml: string): string
  nodeProblem(have: string, lowest: string): string | null
} = load('../scripts/toolchain.cjs')
const tests: {
  readCargo(output: string): Tally
  settle(sum: Tally, ok: boolean): Tally
} = load('../scripts/test-stages.cjs')

const lowestRust = toolchain.lowestRust(readFileSync(path.join(root, 'Cargo.toml'), 'utf8'))
const posix = process.platform !== 'win32'

/** One line, one full stop at its end, and none before. */
const SENTENCE = /^[^\n]*[^.\n]\.\n$/

let folder: string
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'snaptun-bootstrap-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** Puts a program of that name into the folder that is to be the whole PATH. */
function fake(name: string, script: string) {
  const file = path.join(folder, name)
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
}

/** Runs one of the two commands with nothing on the PATH but what {@link fake} put there. */
function run(script: string, { env = {}, node = [] }: { env?: NodeJS.ProcessEnv; node?: string[] } = {}) {
  return spawnSync(process.execPath, [...node, path.join(root, 'scripts', script)], {
    env: { PATH: folder, ...env },
    encoding: 'utf8',
    timeout: 20_000,
  })
}

describe.each(['start.cjs', 'test.cjs'])('scripts/%s', (script) => {
  function stops(result: ReturnType<typeof run>, ...words: (string | RegExp)[]) {
    expect(result.stderr).toMatch(SENTENCE)
    for (const word of words) expect(result.stderr).toMatch(word)
    expect(result.stdout).toBe('')
    expect(result.status).toBe(1)
  }

  it('stops without cargo and says where to get it', () => {
    stops(run(script), /no cargo/, 'rustup', lowestRust)
  })

  it.runIf(posix)('stops with a cargo that is too old and says which is needed', () => {
    fake('cargo', "echo 'cargo 1.80.0 (376290515 2024-07-16)'")
    stops(run(script), '1.80.0', lowestRust, 'rustup update')
  })

  it.runIf(posix)('stops when cargo is a proxy of rustup without a toolchain', () => {
    fake('cargo', "echo 'error: rustup could not choose a version of cargo to run' >&2; exit 1")
    stops(run(script), /does not run/, 'rustup default stable')
  })

  it.runIf(posix)('stops without a C compiler', () => {
    fake('cargo', `echo 'cargo ${lowestRust}.0'`)
    stops(run(script), /C compiler/)
  })

  it('stops with a Node that is too old, before it looks at anything else', () => {
    const preload = path.join(folder, 'older.cjs')
    writeFileSync(preload, "Object.defineProperty(process, 'versions', { value: { node: '18.20.4' } })")
    stops(run(script, { node: ['--require', preload] }), '18.20.4', /Node\.js 20 /)
  })

  it('parses on a Node that is too old, as far as the check', () => {
    for (const name of [script, 'toolchain.cjs']) {
      const source = readFileSync(path.join(root, 'scripts', name), 'utf8')
      expect(newerThanEs5(ts.createSourceFile(name, source, ts.ScriptTarget.Latest, true))).toEqual([])
    }
  })
})

/** What in the source an ES5 parser would stumble over: its text. */
function newerThanEs5(node: ts.Node): string[] {
  const newer =
    ts.isArrowFunction(node) ||
    ts.isTemplateLiteral(node) ||
    ts.isClassLike(node) ||
    ts.isSpreadElement(node) ||
    ts.isSpreadAssignment(node) ||
    ts.isShorthandPropertyAssignment(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isObjectBindingPattern(node) ||
    ts.isArrayBindingPattern(node) ||
    (ts.isCallExpression(node) && node.arguments.hasTrailingComma) ||
    ts.isForOfStatement(node) ||
    ts.isAwaitExpression(node) ||
    ts.isOptionalChain(node) ||
    node.kind === ts.SyntaxKind.QuestionQuestionToken ||
    (ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.BlockScoped) !== 0) ||
    (ts.isParameter(node) && (node.initializer ?? node.dotDotDotToken) !== undefined) ||
    (ts.isNumericLiteral(node) && node.getText().includes('_'))
  const found = newer ? [node.getText()] : []
  ts.forEachChild(node, (child) => {
    found.push(...newerThanEs5(child))
  })
  return found
}

describe('the check of versions', () => {
  const cargo = (version: string) =>
    toolchain.cargoProblem({ status: 0, stdout: `cargo ${version} (0 2026-01-01)\n` }, '1.95')

  it('compares parts as numbers', () => {
    expect(cargo('1.95.0')).toBeNull()
    expect(cargo('1.100.0')).toBeNull()
    expect(cargo('2.0.0')).toBeNull()
    expect(cargo('1.97.0-nightly')).toBeNull()
    expect(cargo('1.94.9')).toMatch(/1\.94\.9/)
    expect(cargo('1.9.0')).toMatch(/1\.9\.0/)
    expect(toolchain.nodeProblem('20.0.0', '20')).toBeNull()
    expect(toolchain.nodeProblem('26.1.0', '20')).toBeNull()
    expect(toolchain.nodeProblem('19.9.0', '20')).toMatch(/19\.9\.0/)
    expect(toolchain.nodeProblem('8.17.0', '20')).toMatch(/8\.17\.0/)
  })

  it('takes the lowest versions from where they are declared, and fails where none is', () => {
    expect(toolchain.lowestRust('[workspace.package]\nrust-version = "1.95"\n')).toBe('1.95')
    expect(() => toolchain.lowestRust('[workspace]\n')).toThrow('Cargo.toml')
    expect(toolchain.lowestNode('{"engines":{"node":">=20"}}')).toBe('20')
  })

  it('tells a compiler that is a mere shim from one that works', () => {
    expect(toolchain.compilerProblem({ status: 0, stdout: 'cc 12' }, 'linux')).toBeNull()
    expect(toolchain.compilerProblem({ status: 1, stdout: '' }, 'darwin')).toMatch(/xcode-select/)
    expect(toolchain.compilerProblem({ status: null, stdout: '', error: { code: 'ENOENT' } }, 'linux')).toMatch(
      /apt install/,
    )
  })
})

describe('the count of tests', () => {
  const none: Tally = { passed: 0, failed: 0, skipped: 0, skips: [] }

  it('sums over test binaries and names what was skipped', () => {
    const output = [
      'running 3 tests',
      'test engine::seals ... ok',
      'test engine::needs_a_namespace ... ignored, needs root',
      'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s',
      'test interop ... FAILED',
      'test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s',
    ].join('\n')
    expect(tests.readCargo(output)).toEqual({
      passed: 6,
      failed: 1,
      skipped: 1,
      skips: ['engine::needs_a_namespace: needs root'],
    })
  })

  it('takes a stage that ran no test, or failed with no failed test, as one failure', () => {
    expect(tests.settle(none, true).failed).toBe(1)
    expect(tests.settle({ ...none, skipped: 7 }, true).failed).toBe(1)
    expect(tests.settle({ ...none, passed: 7 }, false).failed).toBe(1)
    expect(tests.settle({ ...none, passed: 7, failed: 2 }, false).failed).toBe(2)
    expect(tests.settle({ ...none, passed: 7 }, true).failed).toBe(0)
  })
})

describe.runIf(posix)('a stage', () => {
  /** A process that runs `body` with `Stages`; the stages' commands are other scripts in the folder. */
  function staged(body: string) {
    const stages = JSON.stringify(path.join(root, 'scripts/stages.cjs'))
    return spawn(process.execPath, ['-e', `const { Stages } = require(${stages}); (async () => { ${body} })()`], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  }

  /**
   * A command that starts another process, one that takes no hint, waits until that listens on
   * `alive.sock`, and then does `then`.
   */
  function parentOf(then: string) {
    writeFileSync(
      path.join(folder, 'child.cjs'),
      "process.on('SIGTERM', () => {}); require('net').createServer().listen('alive.sock', () => { console.log('started'); process.send('up') })",
    )
    writeFileSync(
      path.join(folder, 'parent.cjs'),
      `const child = require('child_process').fork('child.cjs', { stdio: 'inherit' })
       child.once('message', () => { ${then} })`,
    )
    return "[process.execPath, 'parent.cjs']"
  }

  async function outcome(child: ReturnType<typeof staged>, seen: (output: string) => void = () => {}) {
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
      seen(output)
    })
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      child.once('close', (code, signal) => resolve([code, signal]))
    })
    return { output, code, signal }
  }

  function connectError() {
    return new Promise<string | undefined>((resolve) => {
      const socket = connect(path.join(folder, 'alive.sock'), () => {
        socket.destroy()
        resolve(undefined)
      })
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
    })
  }

  /** A listener goes with its process, also where nobody has collected its exit status. */
  async function expectGone() {
    // What was killed is gone a moment later.
    await expect.poll(connectError, { timeout: 2_000 }).toBe('ECONNREFUSED')
  }

  it('ends with all its processes when a signal ends us, and passes the signal on', async () => {
    const child = staged(`await new Stages(1, { verbose: true }).run('waiting', ${parentOf('')})`)
    const { signal } = await outcome(child, (output) => {
      if (output.endsWith('started\n')) child.kill('SIGTERM')
    })
    expect(signal).toBe('SIGTERM')
    await expectGone()
  })

  it('is given time to end by itself, however many signals come', async () => {
    const parent = "process.on('SIGTERM', () => setTimeout(() => { console.log('tidied up'); process.exit() }, 300))"
    const child = staged(
      `await new Stages(1, { verbose: true }).run('waiting', ${parentOf(`${parent}; console.log('ready')`)})`,
    )
    const { output, signal } = await outcome(child, (output) => {
      if (!output.endsWith('ready\n')) return
      child.kill('SIGTERM')
      setTimeout(() => child.kill('SIGINT'), 100)
    })
    expect(output).toMatch(/tidied up/)
    expect(signal).toBe('SIGTERM')
    await expectGone()
  })

  it('leaves nothing running when its command ends', async () => {
    const child = staged(`await new Stages(1, { verbose: true }).run('leaving', ${parentOf('process.exit(0)')})`)
    const { code } = await outcome(child)
    expect(code).toBe(0)
    await expectGone()
  })

  it('shows what a command printed only when it fails', async () => {
    const command = (code: number) => `[process.execPath, '-e', 'console.log("chatter"); process.exit(${code})']`
    const quiet = await outcome(staged(`await new Stages(1).run('working', ${command(0)})`))
    expect(quiet.output).toMatch(/^\[1\/1\] working… \d+\.\d s\n$/)
    const failed = await outcome(staged(`await new Stages(1).run('working', ${command(3)})`))
    expect(failed.output).toMatch(/^\[1\/1\] working… failed \(exit code 3\), /)
    expect(failed.output).toContain('\nchatter\n')
  })

  it('is ended when it takes too long', async () => {
    const child = staged(
      `const { ok } = await new Stages(1, { verbose: true }).run('hanging', ${parentOf('')}, { timeout: 1500 }); process.exitCode = ok ? 0 : 4`,
    )
    const { output, code } = await outcome(child)
    expect(output).toMatch(/not done after/)
    expect(code).toBe(4)
    await expectGone()
  })
})
