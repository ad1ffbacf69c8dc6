/**
 * What the JavaScript peers send and how they count what arrives: the same for all of them, and the same as the
 * harness over `snap-tun` does in Rust.
 */
import { performance } from 'node:perf_hooks'

/** Bytes of the sequence number that each packet begins with, little endian. */
const SEQUENCE = 8
/** 2^32. */
const HIGH = 0x1_0000_0000
/** One packet of so many is compared whole: often enough to find a fault, too seldom to be measured. */
const SAMPLE = 1024

/** The content of a packet, which its sequence number then covers the beginning of. */
function content(size, packets = 1) {
  return Uint8Array.from({ length: size * packets }, (_, at) => (at % size) % 251)
}

/** The sequence number of a packet. */
export function sequence(packet) {
  const low = packet[0] | (packet[1] << 8) | (packet[2] << 16) | (packet[3] << 24)
  const high = packet[4] | (packet[5] << 8) | (packet[6] << 16) | (packet[7] << 24)
  return (high >>> 0) * HIGH + (low >>> 0)
}

/** Makes packets, so many at a time in one buffer. */
export class Source {
  /** The sequence number that comes next: how many packets were made. */
  next = 0
  /** The packets of the last {@link fill}, one after the other. */
  data
  #size
  #content
  #view

  /** @param {number} size bytes a packet  @param {number} packets how many at a time */
  constructor(size, packets) {
    if (size < SEQUENCE) throw new Error(`a packet has at least ${SEQUENCE} bytes`)
    this.data = new Uint8Array(size * packets)
    this.#size = size
    this.#content = content(size, packets)
    this.#view = new DataView(this.data.buffer)
  }

  /**
   * Makes the next packets. The content is copied in anew each time, as an application has to put its data somewhere
   * too; the harness over `snap-tun` does the same.
   */
  fill() {
    this.data.set(this.#content)
    for (let at = 0; at < this.data.length; at += this.#size) {
      this.#view.setUint32(at, this.next, true)
      this.#view.setUint32(at + 4, this.next / HIGH, true)
      this.next++
    }
    return this.data
  }
}

/** Checks and counts what arrives. */
export class Meter {
  packets = 0
  /** Packets of another length or content than what was sent. */
  corrupt = 0
  #size
  #expected
  #highest = -1
  #counted = 0
  #first = 0
  #last = 0

  /** @param {number} size bytes that each packet must have */
  constructor(size) {
    this.#size = size
    this.#expected = Buffer.from(content(size)).subarray(SEQUENCE)
  }

  /** Each packet's length and number are checked, and now and then all of it. */
  packet(packet) {
    if (packet.length !== this.#size) {
      this.corrupt++
      return
    }
    if (this.packets === 0) this.#first = performance.now()
    const number = sequence(packet)
    if (number > this.#highest) this.#highest = number
    if (this.packets++ % SAMPLE === 0 && this.#expected.compare(packet, SEQUENCE) !== 0) this.corrupt++
  }

  /** The packets that came at once are counted; the clock is read here, once for all of them. */
  batchEnd() {
    if (this.#counted === this.packets) return
    this.#counted = this.packets
    this.#last = performance.now()
  }

  /** Seconds from the first packet to the end of the last batch. */
  get seconds() {
    return (this.#last - this.#first) / 1000
  }

  report() {
    const { packets, corrupt, seconds } = this
    // What was sent after the last packet that arrived is not known here, and does not count as lost.
    return { packets, bytes: packets * this.#size, seconds, lost: Math.max(0, this.#highest + 1 - packets), corrupt }
  }
}

/** Round trips before the measured ones: enough for the engine's compiler to have seen everything. */
const WARM_UP = 1000
/** Milliseconds after which a packet that has not come back is lost. */
const ECHO_TIMEOUT = 1000
/** Packets lost in a row after which nobody waits any more. */
const GIVE_UP = 3

/** Sends a packet, waits for it to come back, and so on: measures how long that takes. */
export class PingPong {
  /** Whether there were enough round trips, or too many packets in a row were lost. */
  done = false
  #source
  #size
  #send
  #times
  #start = 0
  #trips = 0
  #lost = 0
  #inARow = 0
  #watch
  #finish
  /** Settles with {@link done}. */
  finished = new Promise((resolve) => {
    this.#finish = resolve
  })

  /** @param {number} size  @param {number} count how many to measure  @param {(packet: Uint8Array) => void} send */
  constructor(size, count, send) {
    this.#source = new Source(size, 1)
    this.#size = size
    this.#send = send
    this.#times = new Float64Array(count)
  }

  /** Sends the first packet. */
  start() {
    let seen = -1
    // One timer for all: one for each packet would be part of what is measured.
    this.#watch = setInterval(() => {
      if (this.#trips === seen) {
        this.#lost++
        if (++this.#inARow > GIVE_UP) return this.#end()
        this.#next()
      }
      seen = this.#trips
    }, ECHO_TIMEOUT)
    this.#next()
  }

  /** A packet has come back. */
  back(packet) {
    const time = performance.now() - this.#start
    // What was given up as lost may still come, and is not this packet.
    if (this.done || packet.length !== this.#size || sequence(packet) !== this.#source.next - 1) return
    if (this.#trips >= WARM_UP) this.#times[this.#trips - WARM_UP] = time
    this.#inARow = 0
    if (++this.#trips === WARM_UP + this.#times.length) this.#end()
    else this.#next()
  }

  report() {
    const times = this.#times.slice(0, Math.max(0, this.#trips - WARM_UP)).sort()
    if (times.length === 0) throw new Error('no packet came back')
    const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))] * 1000
    return { count: times.length, lost: this.#lost, medianUs: at(0.5), p99Us: at(0.99) }
  }

  #next() {
    const packet = this.#source.fill()
    this.#start = performance.now()
    this.#send(packet)
  }

  #end() {
    this.done = true
    clearInterval(this.#watch)
    this.#finish()
  }
}
