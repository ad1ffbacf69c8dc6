/**
 * A server or clients in a process of their own (fixtures/peer.mjs), which ends with the test.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type {
  BatchOutcome,
  SendOutcome,
  ServerStats,
  SnapTunErrorCode,
  SnapTunnelEvents,
  SocketAddress,
  TunnelStats,
} from 'snaptun'
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

/** What a process holds of the system. */
export interface Resources {
  readonly threads: number
  readonly descriptors: number
  /** What keeps its event loop alive, by Node's names, sorted. */
  readonly handles: readonly string[]
  /** Bytes. */
  readonly memory: Pick<NodeJS.MemoryUsage, 'rss' | 'heapUsed' | 'external' | 'arrayBuffers'>
}

/** What a tunnel told its listeners. */
export interface ClientEvent {
  readonly name: keyof SnapTunnelEvents
  /** Errors with their code and message only. */
  readonly args: readonly unknown[]
  /** When, by `Date.now()`. */
  readonly at: number
}

/** A client that connected. */
export interface Connected {
  /** Its number in its process. */
  readonly tunnel: number
  /** Milliseconds that it took. */
  readonly took: number
  readonly localAddress: SocketAddress
}

/** What a tunnel goes through before it is closed: a name in fixtures/peer-cycles.mjs. */
export type Life = 'closed' | 'aborted' | 'destroyed' | 'abandoned'

/** What a process does, and what comes of it. */
interface Tasks {
  listen: [options: object, result: { address: SocketAddress; publicKey: string }]
  look: [options: undefined, result: ServerLook]
  closeTunnels: [options: undefined, result: undefined]
  connect: [options: object, result: Connected]
  connectMany: [options: { count: number; pause?: number; atOnce?: number; options: object }, result: Connected[]]
  paced: [
    options: { tunnel: number; rate: number; seconds: number },
    result: { sent: number; lost: number; doubled: number; silence: { lasted: number; end: number } },
  ]
  knock: [options: { tunnel: number; size?: number; timeout: number }, result: { at: number }]
  send: [options: { tunnel: number; sizes: readonly number[] }, result: (SendOutcome | SnapTunErrorCode)[]]
  sendBatch: [options: { tunnel: number; count: number; size: number }, result: BatchOutcome & { calls: number }]
  echoEach: [options: undefined, result: number]
  clientStats: [options: { tunnel: number }, result: TunnelStats]
  clientEvents: [options: { tunnel: number }, result: ClientEvent[]]
  maxPacketSize: [options: { tunnel: number }, result: number]
  closeClients: [options: undefined, result: undefined]
  cycles: [options: { kind: Life; count: number; atOnce: number; access: object }, result: undefined]
  resources: [options: undefined, result: Resources]
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

  /** Starts a process, by a command in front of it if given, and with options for Node. */
  static async start(front: readonly string[] = [], flags: readonly string[] = []): Promise<PeerProcess> {
    const command = [...front, process.execPath, ...flags, path.join(__dirname, 'fixtures/peer.mjs')]
    const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const peer = new PeerProcess(child)
    onTestFinished(() => peer.kill())
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

  /** Stops it where it is, as if the machine slept: its sockets stay, and fill. */
  pause(): void {
    this.#process.kill('SIGSTOP')
  }

  /** Ends {@link pause}. */
  resume(): void {
    this.#process.kill('SIGCONT')
  }

  /** Ends it without a word to anybody, as a crash does, and waits until its sockets are gone. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exited
  }

  #ended(how: string, reject: (error: Error) => void): void {
    reject(new Error(how))
    for (const settle of this.#calls.values()) settle({ error: { message: how } })
  }
}
