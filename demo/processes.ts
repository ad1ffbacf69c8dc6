/**
 * The demonstration's processes, from their start to their end.
 */
import { generatePrivateKey, publicKey } from 'snaptun'
import { Child } from './child.js'
import type { ClientOrder, ClientReport, Drops, ServerOrder, ServerReport, Traffic } from './messages.js'
import { filesOf, type Options } from './options.js'

/** Seconds for which a process may say nothing. Connecting takes the longest, which ends after 15 s without an answer. */
const MOST_SILENCE = 25
/** The same once all were told to stop, or are done. */
const MOST_SILENCE_AT_END = 8

/** A process that did not do what it should; the message says which and why. */
export class ProcessError extends Error {}

/** What is known at the end. */
export interface Outcome {
  /** Packets that the server has echoed, by the client's name. */
  readonly echoed: Readonly<Record<string, number>>
  /** What dropped packets, by the name of the process. */
  readonly drops: ReadonlyMap<string, Drops>
}

/** See the module. */
export class Processes {
  /** Names of the clients, by number. */
  readonly names: readonly string[]
  readonly #options: Options
  readonly #traffic: Traffic
  readonly #server: Child<ServerOrder, ServerReport>
  readonly #clients: readonly Child<ClientOrder, ClientReport>[]
  #atEnd = false

  /** Starts them all. `onReport` is told what clients say, by number. */
  constructor(options: Options, traffic: Traffic, onReport: (client: number, report: ClientReport) => void) {
    this.#options = options
    this.#traffic = traffic
    this.names = Array.from({ length: options.clients }, (_, i) => `client-${i + 1}`)
    this.#server = new Child('the server', 'server.js', () => undefined)
    this.#clients = this.names.map((name, i) => new Child(name, 'client.js', (report) => onReport(i, report)))
  }

  /** Runs until all is done. Rejects with {@link ProcessError} as soon as a process fails. None is left afterwards. */
  async run(): Promise<Outcome> {
    const all = [this.#server, ...this.#clients]
    let watch: NodeJS.Timeout | undefined
    const failure = new Promise<never>((_, reject) => {
      watch = setInterval(() => {
        for (const child of all) {
          const most = this.#atEnd ? MOST_SILENCE_AT_END : MOST_SILENCE
          if (++child.silence > most) reject(new ProcessError(`${child.name} has not answered for ${most} s`))
        }
      }, 1000)
      for (const child of all) {
        child.ended.then((problem) => {
          // What has ended may be silent.
          child.silence = Number.NEGATIVE_INFINITY
          if (problem !== undefined) reject(new ProcessError(problem))
        })
      }
    })
    try {
      return await Promise.race([this.#perform(), failure])
    } finally {
      clearInterval(watch)
      for (const child of all) child.kill()
      await Promise.all(all.map((child) => child.ended))
    }
  }

  /** Has the clients send no more; the rest follows. Harmless when repeated. */
  stop(): void {
    this.#ending()
    for (const client of this.#clients) client.tell({ type: 'stop' })
  }

  async #perform(): Promise<Outcome> {
    await this.#connect()
    for (const client of this.#clients) client.tell({ type: 'go', seconds: this.#options.seconds })
    const done = await Promise.all(this.#clients.map((client) => client.hears('done')))
    this.#ending()
    this.#server.tell({ type: 'stop' })
    const { echoed, drops } = await this.#server.hears('done')
    await Promise.all([this.#server, ...this.#clients].map((child) => child.ended))
    return {
      echoed,
      drops: new Map([['the server', drops], ...done.map(({ drops }, i) => [this.names[i] as string, drops] as const)]),
    }
  }

  /** Has the server listen for these clients alone, and connects them. Fresh keys, which are kept nowhere. */
  async #connect(): Promise<void> {
    const { clients, files } = this.#options
    const serverKey = generatePrivateKey()
    const keys = this.names.map(() => generatePrivateKey())
    const guests = this.names.map((name, i) => ({ name, identity: publicKey(keys[i] as string) }))
    this.#server.tell({ type: 'listen', privateKey: serverKey, guests, traffic: this.#traffic })
    const { port } = await this.#server.hears('listening')
    this.#clients.forEach((client, i) => {
      client.tell({
        type: 'connect',
        number: i + 1,
        privateKey: keys[i] as string,
        server: { address: '127.0.0.1', port },
        serverPublicKey: publicKey(serverKey),
        files: filesOf(i, files, clients),
        traffic: this.#traffic,
      })
    })
    await Promise.all(this.#clients.map((client) => client.hears('connected', 'done')))
  }

  #ending(): void {
    this.#atEnd = true
    for (const child of [this.#server, ...this.#clients]) child.silence = Math.min(child.silence, 0)
  }
}
