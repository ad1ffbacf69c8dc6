/**
 * A child process, as its parent sees it. Whatever way it ends, somebody hears of it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Failure } from './messages.js'

/** Characters that are kept of what a child prints, which is nothing unless it breaks down. */
const MOST_OUTPUT = 16_384

/** A child that takes `Order` and says `Report`; `done` is its last. */
export class Child<Order extends object, Report extends { readonly type: string }> {
  readonly name: string
  /** Settles when the process has ended: with what was wrong about that, or undefined. Never rejects. */
  readonly ended: Promise<string | undefined>
  /** Seconds for which nothing was heard; whoever counts them adds to it. */
  silence = 0
  readonly #process: ChildProcess
  readonly #said = new Map<string, Report>()
  readonly #listeners = new Set<() => void>()
  readonly #onReport: (report: Report) => void
  #failure: string | undefined
  #output = ''

  /** Starts `script`, a module beside this one. */
  constructor(name: string, script: string, onReport: (report: Report) => void) {
    this.name = name
    this.#onReport = onReport
    this.#process = fork(join(__dirname, script), [], {
      // Options of Node itself are for the parent: two processes can't be debugged on one port.
      execArgv: [],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // Ctrl-C in a terminal reaches the whole process group, also a child that has not yet come to ignore it. It is for
      // the parent, which tells the children what to do. On Windows this would open a console window for each.
      detached: process.platform !== 'win32',
    })
    this.#process.on('message', (report) => this.#hear(report as Report | Failure))
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-MOST_OUTPUT)
      })
    }
    this.ended = new Promise((resolve) => {
      this.#process.once('error', (error) => resolve(this.#problem(error.message)))
      this.#process.once('close', (code, signal) => {
        if (signal !== null) resolve(this.#problem(`was ended by ${signal}`))
        else if (code !== 0) resolve(this.#problem(`ended with exit code ${code}`))
        else resolve(this.#said.has('done') ? undefined : this.#problem('ended too early'))
      })
    })
  }

  /** Tells the child something. What it doesn't hear any more is no error here: {@link ended} says why. */
  tell(order: Order): void {
    if (this.#process.connected) this.#process.send(order, () => undefined)
  }

  /** Settles when the child has said something of that type, with the last such report. */
  hears<Type extends Report['type']>(...types: Type[]): Promise<Report & { type: Type }> {
    return new Promise((resolve) => {
      const look = (): void => {
        const type = types.find((type) => this.#said.has(type))
        if (type === undefined) return
        this.#listeners.delete(look)
        resolve(this.#said.get(type) as Report & { type: Type })
      }
      this.#listeners.add(look)
      look()
    })
  }

  /** Ends the process at once. Harmless when it has ended. */
  kill(): void {
    this.#process.kill('SIGKILL')
  }

  #hear(report: Report | Failure): void {
    this.silence = 0
    if (report.type === 'failed') {
      this.#failure = (report as Failure).message
      return
    }
    this.#said.set(report.type, report as Report)
    this.#onReport(report as Report)
    for (const look of [...this.#listeners]) look()
  }

  #problem(how: string): string {
    if (this.#failure !== undefined) return `${this.name} failed: ${this.#failure}`
    return `${this.name} ${how}${this.#output === '' ? '' : `:\n${this.#output.trimEnd()}`}`
  }
}
