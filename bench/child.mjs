/**
 * A process that speaks JSON, one object a line, and never outlives its time.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** Milliseconds that a process has to end by itself after its standard input did. */
const GRACE = 5000
/** Characters of standard error that are kept: the last ones say why. */
const KEPT = 4000

const running = new Set()

/** Counts a process that was started elsewhere among those that {@link killAll} ends. */
export function adopt(process) {
  running.add(process)
  process.once('exit', () => running.delete(process))
  return process
}

/** Ends whatever still runs, at once. For a runner that was told to end. */
export function killAll() {
  for (const child of running) child.kill('SIGKILL')
}

/** A signal that ends this process ends its children too. */
export function killAllOnSignal() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // Once: with the handler gone, the same signal then ends this process as the caller expects.
    process.once(signal, () => {
      killAll()
      process.kill(process.pid, signal)
    })
  }
}

/** See the module. */
export class Child {
  #process
  #lines = []
  #waiting
  #errors = ''
  #ended
  #name

  /**
   * @param {string} name for messages
   * @param {readonly string[]} command
   * @param {Record<string, string>} env beside the environment of this process
   */
  constructor(name, [file, ...args], env = {}) {
    this.#name = name
    this.#process = spawn(file, args, { stdio: 'pipe', env: { ...process.env, ...env }, windowsHide: true })
    running.add(this.#process)
    // Written to a process that has ended already: its exit code says more.
    this.#process.stdin.on('error', () => undefined)
    this.#process.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-KEPT)
    })
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#lines.push(line)
      this.#waiting?.()
    })
    this.#ended = new Promise((resolve) => {
      this.#process.once('error', (error) => resolve(error.message))
      this.#process.once('close', (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? code}`))
    }).then((problem) => {
      running.delete(this.#process)
      return problem
    })
  }

  get pid() {
    return this.#process.pid
  }

  /** The next object that it says, within so many milliseconds. */
  async next(milliseconds) {
    let timer
    const line = new Promise((resolve, reject) => {
      const look = () => {
        if (this.#lines.length > 0) resolve(this.#lines.shift())
      }
      this.#waiting = look
      look()
      timer = setTimeout(() => reject(this.#failure(`said nothing for ${milliseconds / 1000} s`)), milliseconds)
      // Its last line may still be on the way when it ends well.
      this.#ended.then((problem) =>
        setImmediate(() => {
          look()
          reject(this.#failure(problem ?? 'ended'))
        }),
      )
    })
    try {
      const text = await line
      try {
        return JSON.parse(text)
      } catch {
        // It ended in the middle of it, most likely: `process.exit` drops what the pipe has not taken; see peers/peer.mjs.
        throw this.#failure(`said ${text.length} characters that are no JSON`)
      }
    } finally {
      clearTimeout(timer)
      this.#waiting = undefined
    }
  }

  /** Tells it to end: standard input ends. */
  tell() {
    this.#process.stdin.end()
  }

  /** Settles when it has ended; it is killed if it does not. */
  async end() {
    this.tell()
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), GRACE)
    const problem = await this.#ended
    clearTimeout(timer)
    if (problem !== undefined) throw this.#failure(problem)
  }

  /** Ends it at once. */
  kill() {
    this.#process.kill('SIGKILL')
  }

  #failure(problem) {
    return new Error(`${this.#name} ${problem}\n${this.#errors.trim()}`.trim())
  }
}
