/**
 * A UDP relay on loopback between one client and its server: the network that the tests can spoil. What it does to a
 * datagram is up to a policy for each direction (relay-policies.ts), the same for the same seed.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { SocketAddress } from 'snaptun'
import { onTestFinished } from 'vitest'
import { type Passage, type Policy, pass, type Random, seeded } from './relay-policies.js'

/** What is asked of the system for each socket: what a test sends in one go has to fit. */
const BUFFER = 4 << 20

/** One direction. */
export class Lane {
  /** What happens to datagrams from now on. */
  policy: Policy = pass
  /** Every datagram that came to the relay, as it came. */
  readonly seen: Buffer[] = []
  /** How many the relay sent on. */
  delivered = 0
  readonly #random: Random
  readonly #send: (bytes: Buffer) => void
  /** Datagrams that let others overtake them, and after how many arrivals they leave. */
  #overtaken: { readonly bytes: Buffer; readonly due: number }[] = []
  #held: Buffer[] | undefined

  constructor(random: Random, send: (bytes: Buffer) => void) {
    this.#random = random
    this.#send = send
  }

  /** Takes a datagram from the network. */
  arrive(bytes: Buffer): void {
    this.seen.push(bytes)
    for (const { bytes: leaving, behind } of this.policy({ bytes, behind: 0 } satisfies Passage, this.#random)) {
      if (behind === 0) this.#leave(leaving)
      else this.#overtaken.push({ bytes: leaving, due: this.seen.length + behind })
    }
    const due = this.#overtaken.filter((each) => each.due <= this.seen.length)
    if (due.length === 0) return
    this.#overtaken = this.#overtaken.filter((each) => each.due > this.seen.length)
    for (const each of due) this.#leave(each.bytes)
  }

  /** Keeps what leaves from now on. */
  hold(): void {
    this.#held ??= []
  }

  /** Ends {@link hold}, and returns what was kept without sending it. */
  take(): Buffer[] {
    const held = this.#held ?? []
    this.#held = undefined
    return held
  }

  /** Sends a datagram past the policy: one that was kept or seen, or was never there. */
  inject(bytes: Buffer): void {
    this.delivered++
    this.#send(bytes)
  }

  /** Sends what still waits to be overtaken. */
  flush(): void {
    const all = this.#overtaken
    this.#overtaken = []
    for (const { bytes } of all) this.#leave(bytes)
  }

  #leave(bytes: Buffer): void {
    if (this.#held === undefined) this.inject(bytes)
    else this.#held.push(bytes)
  }
}

/** See the module. */
export class Relay {
  readonly toServer: Lane
  readonly toClient: Lane
  readonly #server: SocketAddress
  /** Where the client sends to, and where the server sends to. `undefined` while there is none. */
  #front: Socket | undefined
  #back: Socket | undefined
  #port = 0
  #client: { readonly address: string; readonly port: number } | undefined

  private constructor(server: SocketAddress, random: Random) {
    this.#server = server
    this.toServer = new Lane(random, (bytes) => this.#back?.send(bytes, server.port, server.address))
    this.toClient = new Lane(random, (bytes) => {
      if (this.#client !== undefined) this.#front?.send(bytes, this.#client.port, this.#client.address)
    })
  }

  /** Starts a relay to a server; it ends with the test. */
  static async start(server: SocketAddress, seed = 1): Promise<Relay> {
    const relay = new Relay(server, seeded(seed))
    onTestFinished(() => relay.#close())
    relay.#back = await relay.#bind(0, (bytes) => relay.toClient.arrive(bytes))
    await relay.plug()
    return relay
  }

  /** Where the client has to connect to. */
  get address(): SocketAddress {
    return { ...this.#server, port: this.#port }
  }

  /** Where datagrams from the client come from; throws before there was any. */
  get client(): { readonly address: string; readonly port: number } {
    if (this.#client === undefined) throw new Error('no client has sent anything yet')
    return this.#client
  }

  /** What the server takes for the client's port. */
  get port(): number {
    return this.#back?.address().port as number
  }

  /** As a NAT that forgot: the server sees another port of the client, and the old one is closed. */
  async rebind(): Promise<void> {
    const old = this.#back
    this.#back = await this.#bind(0, (bytes) => this.toClient.arrive(bytes))
    await closed(old)
  }

  /** Closes the port that the client sends to: the system answers «port unreachable». */
  async unplug(): Promise<void> {
    const front = this.#front
    this.#front = undefined
    await closed(front)
  }

  /** Ends {@link unplug}, on the same port. */
  async plug(): Promise<void> {
    this.#front = await this.#bind(this.#port, (bytes, client) => {
      this.#client = client
      this.toServer.arrive(bytes)
    })
    this.#port = this.#front.address().port
  }

  async #bind(port: number, arrive: (bytes: Buffer, from: SocketAddress) => void): Promise<Socket> {
    const socket = createSocket(this.#server.family === 'IPv6' ? 'udp6' : 'udp4')
    socket.on('message', (bytes, from) => arrive(bytes, from as SocketAddress))
    socket.bind(port, this.#server.address)
    await once(socket, 'listening')
    socket.setRecvBufferSize(BUFFER)
    socket.setSendBufferSize(BUFFER)
    return socket
  }

  async #close(): Promise<void> {
    const [front, back] = [this.#front, this.#back]
    this.#front = undefined
    this.#back = undefined
    await Promise.all([closed(front), closed(back)])
  }
}

async function closed(socket: Socket | undefined): Promise<void> {
  if (socket !== undefined) await new Promise<void>((resolve) => socket.close(() => resolve()))
}
