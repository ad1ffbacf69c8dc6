/**
 * The control plane of the crate snap-control in a process of its own, which ends with the test: crates/peers,
 * `src/bin/snap_control`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { until } from './helpers.ts'

/** Its options, by the names that it has for them on the command line. Keys are in hexadecimal. */
export interface ControlPlaneOptions {
  readonly 'token-key': string
  readonly listen?: string
  readonly 'data-plane'?: string
  readonly 'data-plane-key'?: string
  readonly 'registration-url'?: string
}

/** A registration that it accepted. */
export interface Reported {
  /** The identity, base64. */
  readonly identity: string
  /** The client's share, base64, if it sent one. */
  readonly pskShare: string | undefined
  /** When the registration ends, by the wall clock. */
  readonly expiresAt: number
  /** The number of the token. */
  readonly token: string
}

interface Line {
  readonly listening: string
  readonly dataPlane: string
  readonly registered: string
  readonly pskShare: string | null
  readonly lifetimeMs: number
  readonly token: string
}

const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')

/** See the module. */
export class ControlPlaneProcess {
  readonly #process: ChildProcess
  /** Where it listens, `host:port`. */
  readonly listening: string
  /** The data plane that clients are told of, `host:port`. */
  readonly dataPlane: string
  /** What it reported, in that order. */
  readonly registrations: Reported[] = []
  /** Hears of each further report. */
  onRegistered: (registration: Reported) => void = () => undefined

  private constructor(child: ChildProcess, { listening, dataPlane }: Line) {
    this.#process = child
    this.listening = listening
    this.dataPlane = dataPlane
  }

  get url(): string {
    return `http://${this.listening}`
  }

  /** Starts one; settles when it listens. */
  static async start(options: ControlPlaneOptions): Promise<ControlPlaneProcess> {
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
    const child = spawn(binary(), args, { stdio: ['pipe', 'pipe', 'inherit'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout })
    const failed = once(child, 'exit').then(([code]) => Promise.reject(new Error(`snap-control ended with ${code}`)))
    const [first] = await Promise.race([once(lines, 'line'), failed])
    failed.catch(() => undefined)
    const process = new ControlPlaneProcess(child, JSON.parse(first))
    lines.on('line', (line) => {
      const registration = read(JSON.parse(line))
      process.registrations.push(registration)
      process.onRegistered(registration)
    })
    return process
  }

  /**
   * The answer of a server's `authorize`: until its registration ends, an identity may pass. The first `forgotten`
   * reports don't count.
   */
  async authorize(identity: string, forgotten = 0): Promise<{ expiresAt: number } | null> {
    const find = () =>
      this.registrations
        .slice(forgotten)
        .filter((report) => report.identity === identity)
        .at(-1)
    // The report comes by another way than the client that it is about.
    await until(() => find() !== undefined, 'the report of the registration', 1000).catch(() => undefined)
    return find() ?? null
  }

  /** Ends it. */
  async stop(): Promise<void> {
    const exited = once(this.#process, 'exit')
    this.#process.stdin?.end()
    await exited
  }
}

function read({ registered, pskShare, lifetimeMs, token }: Line): Reported {
  return {
    identity: base64(registered),
    pskShare: pskShare === null ? undefined : base64(pskShare),
    expiresAt: Date.now() + lifetimeMs,
    token,
  }
}

function binary(): string {
  const file = path.join(__dirname, '../crates/peers/target/debug/snap-control')
  if (existsSync(file)) return file
  const command = 'cargo build --manifest-path crates/peers/Cargo.toml --features control-plane --bin snap-control'
  throw new Error(`The control plane is missing. Type: ${command}`)
}
