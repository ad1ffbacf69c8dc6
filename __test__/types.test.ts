import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, it } from 'vitest'

const ROOT = path.join(__dirname, '..')

/** What the compiler says to `files`, with the settings of a user who checks everything. */
function compile(...options: string[]): { status: number | null; stdout: string } {
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc')
  const file = path.join(__dirname, 'fixtures/consumer.ts')
  const settings = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node', ...options]
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...settings, file], { cwd: ROOT, encoding: 'utf8' })
  return { status, stdout }
}

it.each(['node16', 'nodenext', 'preserve'])(
  'a program that uses the package compiles, and misuse does not (module %s)',
  (module) => {
    // For `await using`, which is in no ES2022; the package's own types need nothing beyond.
    const lib = ['--lib', 'es2022,esnext.disposable']
    expect(compile('--module', module, ...lib)).toEqual({ status: 0, stdout: '' })
  },
  60_000,
)
