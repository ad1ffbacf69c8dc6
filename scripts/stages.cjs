// Runs commands one after the other, each as a numbered stage with its own line of progress.
//
// What a command prints is kept and shown only if it fails: a fresh build prints hundreds of lines
// that nobody reads. Whatever ends this process, a command never outlives it.
'use strict'

const { spawn, spawnSync } = require('node:child_process')

const MINUTE = 60_000
/** How often a stage says that it is still at it, where lines can't be overwritten (a CI log). */
const HEARTBEAT = 20_000
/** How long a command has to end by itself when it is told to. */
const GRACE = 5_000
/** How long what a command left running may still print. */
const LINGER = 1_000

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what it is about
const ESCAPES = /\x1b\[[0-9;?]*[A-Za-z]/g

function seconds(since) {
  const elapsed = (performance.now() - since) / 1000
  return `${elapsed.toFixed(elapsed < 10 ? 1 : 0)} s`
}

/** Signals a command and all that it started. */
function killTree(child, signal) {
  if (process.platform === 'win32') {
    spawnSync('taskkill', ['/pid', String(child.pid), '/T', '/F'], { timeout: GRACE })
    return
  }
  try {
    process.kill(-child.pid, signal)
  } catch {
    // The whole group has ended.
  }
}

/** Numbered stages. A signal to this process ends the command that runs, and then this process. */
class Stages {
  #total
  #number = 0
  #verbose
  #child = null
  #stopping = false

  constructor(total, { verbose = false } = {}) {
    this.#total = total
    this.#verbose = verbose
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, this.#stop)
  }

  /** No more stages: signals go their usual way again. */
  end() {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeListener(signal, this.#stop)
  }

  /** A stage that has nothing to do. */
  skip(title, why) {
    this.#number++
    process.stdout.write(`[${this.#number}/${this.#total}] ${title}… ${why}\n`)
  }

  /**
   * Runs `command` (an array: program and arguments) and returns `{ ok, output }`, with both its
   * streams in `output`. `summarize(output)` gives what to add to the stage's line when it is done.
   */
  async run(title, command, { cwd, env, shell = false, timeout = 10 * MINUTE, summarize } = {}) {
    const head = `[${++this.#number}/${this.#total}] ${title}…`
    const started = performance.now()
    const terminal = process.stdout.isTTY && !this.#verbose
    process.stdout.write(terminal ? head : `${head}${this.#verbose ? '\n' : ''}`)

    let lineOpen = !terminal && !this.#verbose
    let last = ''
    const tick = setInterval(
      () => {
        if (terminal) {
          const line = `${head} ${seconds(started)}  ${last}`.slice(0, (process.stdout.columns || 80) - 1)
          process.stdout.write(`\r${line}\x1b[K`)
        } else if (!this.#verbose) {
          process.stdout.write(`${lineOpen ? '\n' : ''}      ${seconds(started)}: ${last}\n`)
          lineOpen = false
        }
      },
      terminal ? 250 : HEARTBEAT,
    )

    // A process group of its own, so that all of it can be ended, whoever started what.
    const child = spawn(command[0], command.slice(1), {
      cwd,
      env,
      shell,
      detached: process.platform !== 'win32',
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
    })
    this.#child = child
    const chunks = []
    const keep = (chunk) => {
      chunks.push(chunk)
      if (this.#verbose) process.stdout.write(chunk)
      const lines = chunk.toString().replace(ESCAPES, '').trim().split('\n')
      last = lines[lines.length - 1].trim() || last
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)

    let timedOut = false
    const limit = setTimeout(() => {
      timedOut = true
      killTree(child, 'SIGKILL')
    }, timeout)

    let sweep
    const { code, problem } = await new Promise((resolve) => {
      child.once('error', (error) => resolve({ code: null, problem: error.message }))
      child.once('close', (code, signal) => resolve({ code, problem: signal && `ended by ${signal}` }))
      // What the command left running would hold its pipes open, and so hold back `close`.
      child.once('exit', () => {
        sweep = setTimeout(killTree, LINGER, child, 'SIGKILL')
      })
    })
    for (const timer of [limit, tick, sweep]) clearTimeout(timer)
    killTree(child, 'SIGKILL')
    this.#child = null

    const ok = code === 0
    const output = Buffer.concat(chunks).toString().replace(ESCAPES, '')
    const how = timedOut ? `not done after ${timeout / MINUTE} minutes` : problem || `exit code ${code}`
    const tail = `${ok ? '' : `failed (${how}), `}${summarize ? `${summarize(output)}, ` : ''}${seconds(started)}`
    if (terminal) process.stdout.write(`\r${head} ${tail}\x1b[K\n`)
    else process.stdout.write(lineOpen ? ` ${tail}\n` : `${head} ${tail}\n`)
    if (!ok && !this.#verbose) process.stdout.write(`\n$ ${command.join(' ')}\n${output.trimEnd()}\n\n`)
    return { ok, output }
  }

  #stop = (signal) => {
    // Ctrl-C may come twice, from the terminal and from npm; the second must not cut the first short.
    if (this.#stopping) return
    this.#stopping = true
    const child = this.#child
    const leave = () => {
      if (child) killTree(child, 'SIGKILL')
      process.stdout.write('\n')
      // With the handlers gone the signal ends this process, so that the caller sees which it was.
      this.end()
      process.kill(process.pid, signal)
    }
    if (!child) return leave()
    child.once('exit', leave)
    setTimeout(leave, GRACE)
    killTree(child, 'SIGTERM')
  }
}

module.exports = { MINUTE, Stages }
