/**
 * What a client does with its tunnel: sends pieces of its files, a window of them at a time, and compares what comes
 * back with the files, byte for byte.
 *
 * A packet is a header of {@link HEADER} bytes (sequence number, 6; the client's number, 2; big endian) and a piece of the
 * content. Which piece follows from the sequence number, so a packet that comes back says what it must be.
 */
import type { PacketBatch, SnapTunnel } from 'snaptun'
import type { Content } from './content.js'
import { Histogram } from './histogram.js'
import type { Progress, Traffic } from './messages.js'

export const HEADER = 8

/** Packets a call: what the kernel takes as one train of datagrams is 64 KiB at most, 45 packets of 1400 bytes. */
const MOST_AT_ONCE = 45

/** Slots for packets that were sent, from the oldest that is missing on; a power of two. */
const SLOTS = 2 ** 18

/** Milliseconds between two looks for packets that are missing for too long. */
export const TICK = 100

/** A packet is lost when it is missing for so many ticks. Not a clock: one that was stopped with Ctrl-Z loses nothing. */
const LOST_AFTER = 20

/** See the module. */
export class Exchange {
  /** Round trips since the last call of {@link takeRoundTrips}. */
  readonly #recent = new Histogram()
  readonly #roundTrips = new Histogram()
  readonly #tunnel: SnapTunnel
  readonly #content: Content
  readonly #number: number
  readonly #payload: number
  readonly #piece: number
  readonly #window: number
  readonly #atOnce: number
  /** Packets on their way out, one behind the other. */
  readonly #outgoing: Buffer
  /** By slot: the tick at which the packet was sent; 0 when it is not in flight. */
  readonly #sentTick = new Uint32Array(SLOTS)
  /** By slot: when the packet was sent, if its round trip is measured, which is one a call; else 0. */
  readonly #sentTime = new Float64Array(SLOTS)
  /** By slot: where in the content its piece begins. */
  readonly #offset = new Uint32Array(SLOTS)
  /** Packets that were given up, of which there are few: they are no duplicates when they come late. */
  readonly #missing = new Set<number>()
  #tick = 1
  /** The oldest packet that is not accounted for, and the next to be sent. */
  #oldest = 0
  #next = 0
  #nextOffset = 0
  #inFlight = 0
  #returned = 0
  #lost = 0
  #corrupt = 0
  #firstCorrupt: string | undefined
  #stopped = false
  #wake: (() => void) | undefined
  #started = 0
  #lastReturn = 0

  constructor(tunnel: SnapTunnel, content: Content, number: number, traffic: Traffic) {
    this.#tunnel = tunnel
    this.#content = content
    this.#number = number
    this.#payload = traffic.payload
    this.#piece = traffic.payload - HEADER
    this.#window = traffic.window
    // Several calls a window: while one batch is echoed, another is being made.
    const share = Math.max(Math.floor(traffic.window / 3), 1)
    this.#atOnce = Math.min(share, MOST_AT_ONCE, Math.max(Math.floor(65_000 / (traffic.payload + 32)), 1))
    this.#outgoing = Buffer.alloc(this.#atOnce * traffic.payload)
  }

  /** Exchanges packets until {@link stop} was called and nothing is in flight. Rejects when the tunnel ends. */
  async run(): Promise<void> {
    const ticker = setInterval(() => this.#expire(), TICK)
    this.#started = performance.now()
    this.#lastReturn = this.#started
    const receiving = this.#receive()
    try {
      await Promise.race([this.#send(), receiving.then(() => Promise.reject(new Error('the tunnel was closed')))])
    } finally {
      clearInterval(ticker)
    }
  }

  /** Sends no more. */
  stop(): void {
    this.#stopped = true
    this.#wakeSender()
  }

  progress(): Progress {
    const until = this.#stopped ? this.#lastReturn : performance.now()
    return {
      elapsed: until - this.#started,
      sent: this.#next,
      returned: this.#returned,
      lost: this.#lost,
      corrupt: this.#corrupt,
      firstCorrupt: this.#firstCorrupt,
    }
  }

  /** Round trips since the last call. */
  takeRoundTrips(): number[] {
    const counts = this.#recent.counts()
    this.#roundTrips.add(counts)
    this.#recent.clear()
    return counts
  }

  /** All round trips up to the last call of {@link takeRoundTrips}. */
  allRoundTrips(): number[] {
    return this.#roundTrips.counts()
  }

  async #send(): Promise<void> {
    const batch = { data: this.#outgoing, size: this.#payload }
    while (!this.#stopped || this.#inFlight > 0) {
      if (this.#stopped || !this.#hasRoom()) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        continue
      }
      this.#fill()
      await this.#tunnel.sendBatch(batch)
    }
  }

  #hasRoom(): boolean {
    return this.#inFlight + this.#atOnce <= this.#window && this.#next + this.#atOnce - this.#oldest <= SLOTS
  }

  #wakeSender(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Makes the next batch, and notes what it must come back as. */
  #fill(): void {
    const out = this.#outgoing
    const { bytes, length } = this.#content
    for (let at = 0; at < out.length; at += this.#payload) {
      const sequence = this.#next++
      const slot = sequence % SLOTS
      const offset = this.#nextOffset
      out.writeUIntBE(sequence, at, 6)
      out.writeUInt16BE(this.#number, at + 6)
      bytes.copy(out, at + HEADER, offset, offset + this.#piece)
      this.#offset[slot] = offset
      this.#sentTick[slot] = this.#tick
      this.#sentTime[slot] = 0
      this.#nextOffset = (offset + this.#piece) % length
    }
    this.#inFlight += this.#atOnce
    this.#sentTime[(this.#next - 1) % SLOTS] = performance.now()
  }

  async #receive(): Promise<void> {
    for await (const batch of this.#tunnel.batches()) {
      this.#check(batch)
      if (this.#stopped ? this.#inFlight === 0 : this.#hasRoom()) this.#wakeSender()
    }
  }

  #check(batch: PacketBatch): void {
    const now = performance.now()
    for (let i = 0; i < batch.length; i++) this.#checkPacket(batch.data(i), now)
    while (this.#oldest < this.#next && this.#sentTick[this.#oldest % SLOTS] === 0) this.#oldest++
    this.#lastReturn = now
  }

  #checkPacket(packet: Uint8Array, now: number): void {
    if (packet.length !== this.#payload) {
      this.#isCorrupt(`a packet of ${packet.length} bytes`)
      return
    }
    const view = new DataView(packet.buffer, packet.byteOffset, HEADER)
    const sequence = view.getUint16(0) * 2 ** 32 + view.getUint32(2)
    const number = view.getUint16(6)
    const slot = sequence % SLOTS
    if (number !== this.#number) {
      this.#isCorrupt(`a packet of client ${number}`)
    } else if (sequence < this.#oldest || sequence >= this.#next || this.#sentTick[slot] === 0) {
      // Too late is as good as lost, and counted so already.
      if (!this.#missing.delete(sequence)) this.#isCorrupt(`packet ${sequence}, which was not in flight`)
    } else {
      this.#sentTick[slot] = 0
      this.#inFlight--
      const offset = this.#offset[slot] as number
      // The packet is compared where it lies in native memory, and the content where it was read from its file.
      if (this.#content.bytes.compare(packet, HEADER, this.#payload, offset, offset + this.#piece) !== 0) {
        this.#isCorrupt(`packet ${sequence} with other content than it was sent with`)
        return
      }
      this.#returned++
      const sent = this.#sentTime[slot] as number
      if (sent !== 0) this.#recent.record((now - sent) * 1000)
    }
  }

  #isCorrupt(what: string): void {
    this.#corrupt++
    this.#firstCorrupt ??= what
  }

  /** Gives up what is missing for too long, so that the window moves on. */
  #expire(): void {
    this.#tick++
    while (this.#oldest < this.#next) {
      const slot = this.#oldest % SLOTS
      const sent = this.#sentTick[slot] as number
      if (sent !== 0) {
        if (this.#tick - sent <= LOST_AFTER) break
        this.#sentTick[slot] = 0
        this.#inFlight--
        this.#lost++
        if (this.#missing.size < SLOTS) this.#missing.add(this.#oldest)
      }
      this.#oldest++
    }
    this.#wakeSender()
  }
}
