/**
 * A server or clients in a process of their own (fixtures/peer.mjs), which ends with the test.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import type { ServerStats, SnapTunErrorCode, SocketAddress, TunnelStats } from 'snaptun'
import { onTestFinished } from 'vitest'

/** What a server process knows. */
export interface ServerLook {
  readonly stats: ServerStats
  readonly tunnels: readonly { readonly id: number; readonly identity: string; readonly remote: SocketAddress }[]
  readonly events: readonly {
    readonly type: 'tunnel' | 'tunnelclose'
    readonly id: number
    readonly identity: string
    readonly reason?: string
  }[]
  /** Bytes of memory that the process uses. */
  readonly rss: number
}

/** A client that connected. */
export interface Connected {
  /** Its number in its process. */
  readonly tunnel: number
  /** Milliseconds that it took. */
  readonly took: number
  readonly localAddress: SocketAddress
}

/** What a process does, and what comes of it. */
interface Tasks {
  listen: [options: object, result: { address: SocketAddress; publicKey: string }]
  look: [options: undefined, result: ServerLook]
  closeTunnels: [options: undefined, result: undefined]
  connect: [options: object, result: Connected]
  connectMany: [options: { count: number; pause: number; options: object }, result: Connected[]]
  paced: [options: { tunnel: number; rate: number; seconds: number }, result: { sent: number; lost: number }]
  clientStats: [options: { tunnel: number }, result: TunnelStats]
}

interface Message {
  readonly id?: number
  readonly value?: unknown
  readonly error?: { readonly code?: SnapTunErrorCode; readonly message: string }
  readonly ready?: true
  readonly began?: number
}

/** See the module. */
export class PeerProcess {
  readonly #process: ChildProcess
  readonly #calls = new Map<number, (message: Message) => void>()
  #next = 0
  /** Of `connectMany`, how many have begun so far. */
  began = 0

  private constructor(child: ChildProcess) {
    this.#process = child
  }

  /** Starts a process, by a command in front of it if given. */
  static async start(front: readonly string[] = []): Promise<PeerProcess> {
    const command = [...front, process.execPath, path.join(__dirname, 'fixtures/peer.mjs')]
    const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const peer = new PeerProcess(child)
    onTestFinished(() => peer.#end())
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) => peer.#ended(`ended with ${code ?? signal}`, reject))
      child.on('message', (message: Message) => {
        if (message.ready) resolve()
        else if (message.began !== undefined) peer.began = message.began + 1
        else peer.#calls.get(message.id as number)?.(message)
      })
    })
    return peer
  }

  get pid(): number {
    return this.#process.pid as number
  }

  /** Has it do something; rejects with what went wrong there. */
  call<Name extends keyof Tasks>(task: Name, options?: Tasks[Name][0]): Promise<Tasks[Name][1]> {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      this.#calls.set(id, ({ value, error }) => {
        this.#calls.delete(id)
        if (error === undefined) resolve(value as Tasks[Name][1])
        else reject(Object.assign(new Error(error.message), { code: error.code }))
      })
      this.#process.send({ id, task, options })
    })
  }

  #ended(how: string, reject: (error: Error) => void): void {
    reject(new Error(how))
    for (const settle of this.#calls.values()) settle({ error: { message: how } })
  }

  async #end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = new Promise((resolve) => this.#process.once('exit', resolve))
    this.#process.kill('SIGKILL')
    await exited
  }
}
