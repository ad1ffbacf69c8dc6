/**
 * The tool that floods: crates/peers, `src/bin/flood`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'

/** What it can send. */
export type FloodKind = 'bad-mac' | 'initiations' | 'replay' | 'cookies' | 'lengths' | 'data'

/** Its options, by the names that it has for them on the command line. */
export interface FloodOptions {
  readonly to: string
  readonly 'server-public-key'?: string
  readonly 'private-key'?: string
  readonly datagram?: string
  readonly variants?: number
  readonly rate?: number
  readonly seconds?: number
  readonly ports?: number
  readonly forge?: string
  readonly 'forge-port'?: number
}

/** What it did. */
export interface FloodReport {
  readonly sent: number
  readonly failed: number
  readonly seconds: number
  readonly rate: number
}

/** A key as the tool takes it. */
export const hex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex')

/** Floods, by a command in front of the tool if given, and says how much was sent. */
export async function flood(
  kind: FloodKind,
  options: FloodOptions,
  front: readonly string[] = [],
): Promise<FloodReport> {
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const [report] = await linesOf(run([...front, tool(), 'send', kind, ...args]), 1)
  return report as FloodReport
}

/**
 * Reads along in a network namespace. Resolves once it does, to a promise for the first initiation to that port: a
 * datagram in hexadecimal.
 */
export async function capture(port: number, front: readonly string[]): Promise<{ initiation: Promise<string> }> {
  const child = run([...front, tool(), 'capture', '--to-port', String(port)])
  return new Promise((resolve, reject) => {
    const initiation = linesOf(child, 2, () => resolve({ initiation })).then(
      ([, captured]) => (captured as { datagram: string }).datagram,
    )
    initiation.catch(reject)
  })
}

function tool(): string {
  const file = path.join(__dirname, '../crates/peers/target/debug/flood')
  if (existsSync(file)) return file
  throw new Error('The flood tool is missing. Type: cargo build --manifest-path crates/peers/Cargo.toml --bin flood')
}

function run(command: readonly string[]): ChildProcess {
  const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

/** So many lines of JSON that a process prints before it ends well. */
function linesOf(child: ChildProcess, count: number, each: () => void = () => undefined): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const lines: unknown[] = []
    let errors = ''
    child.stderr?.on('data', (text) => {
      errors += text
    })
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on('line', (line) => {
      lines.push(JSON.parse(line))
      each()
    })
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0 && lines.length === count) resolve(lines)
      else reject(new Error(`the flood tool ended with ${code}: ${errors.trim()}`))
    })
  })
}
