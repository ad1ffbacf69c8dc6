/**
 * What the JavaScript peers send and how they count what arrives: the same for all of them, and the same as the
 * contenders in Rust do.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'

/** Bytes that each packet begins with, little endian: its number, 48 bits, and its stream, 16 bits. */
const HEAD = 8
/** 2^32. */
const HIGH = 0x1_0000_0000
/** One packet of so many is compared whole: often enough to find a fault, too seldom to be measured. */
const SAMPLE = 1024
/** Milliseconds between two looks at the event loop: what a look says contains them. At 1 ms they cost 5% of the packets. */
const LOOP_RESOLUTION = 5

/** The content of a packet, which its head then covers the beginning of. */
function content(size, packets = 1) {
  return Uint8Array.from({ length: size * packets }, (_, at) => (at % size) % 251)
}

/** The number of a packet in its stream. */
export function sequence(packet) {
  const low = packet[0] | (packet[1] << 8) | (packet[2] << 16) | (packet[3] << 24)
  return (packet[4] | (packet[5] << 8)) * HIGH + (low >>> 0)
}

/** Makes packets, so many at a time in one buffer. */
export class Source {
  /** The packets of the last {@link fill}, one after the other. */
  data
  /** How many packets were made. */
  made = 0
  #size
  #content
  #view
  #next

  /** @param {number} size bytes a packet  @param {number} packets how many at a time  @param {number} streams */
  constructor(size, packets, streams = 1) {
    if (size < HEAD) throw new Error(`a packet has at least ${HEAD} bytes`)
    this.data = new Uint8Array(size * packets)
    this.#size = size
    this.#content = content(size, packets)
    this.#view = new DataView(this.data.buffer)
    this.#next = new Float64Array(streams)
  }

  /**
   * Makes the next packets of a stream. The content is copied in anew each time, as an application has to put its data
   * somewhere too; the contenders in Rust do the same.
   */
  fill(stream = 0) {
    this.data.set(this.#content)
    let next = this.#next[stream]
    for (let at = 0; at < this.data.length; at += this.#size) {
      this.#view.setUint32(at, next, true)
      this.#view.setUint16(at + 4, next / HIGH, true)
      this.#view.setUint16(at + 6, stream, true)
      next++
      this.made++
    }
    this.#next[stream] = next
    return this.data
  }
}

/** Checks and counts what arrives, and looks how long the event loop is held up meanwhile. */
export class Meter {
  packets = 0
  /** Packets of another length, stream or content than what was sent. */
  corrupt = 0
  #size
  #expected
  /** By stream: packets, and the highest number seen and one. */
  #counts
  #ends
  #counted = 0
  #first = 0
  #last = 0
  #loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION })

  /** @param {number} size bytes that each packet must have  @param {number} streams */
  constructor(size, streams = 1) {
    this.#size = size
    this.#expected = Buffer.from(content(size)).subarray(HEAD)
    this.#counts = new Float64Array(streams)
    this.#ends = new Float64Array(streams)
  }

  /** Each packet's length, number and stream are checked, and now and then all of it. */
  packet(packet) {
    const stream = packet[6] | (packet[7] << 8)
    if (packet.length !== this.#size || stream >= this.#counts.length) {
      this.corrupt++
      return
    }
    if (this.packets === 0) this.#begin()
    const end = sequence(packet) + 1
    if (end > this.#ends[stream]) this.#ends[stream] = end
    this.#counts[stream]++
    if (this.packets++ % SAMPLE === 0 && this.#expected.compare(packet, HEAD) !== 0) this.corrupt++
  }

  /** The packets that came at once are counted; the clock is read here, once for all of them. */
  batchEnd() {
    if (this.#counted === this.packets) return
    this.#counted = this.packets
    this.#last = performance.now()
  }

  report() {
    this.#loop.disable()
    const { packets, corrupt } = this
    const streams = [...this.#counts]
    return {
      packets,
      bytes: packets * this.#size,
      seconds: (this.#last - this.#first) / 1000,
      // What was sent after the last packet that arrived is not known here, and does not count as lost.
      lost: streams.reduce((sum, count, stream) => sum + Math.max(0, this.#ends[stream] - count), 0),
      corrupt,
      streams,
      loopP50Ms: this.#heldUp(50),
      loopP99Ms: this.#heldUp(99),
    }
  }

  #begin() {
    this.#first = performance.now()
    this.#loop.enable()
  }

  #heldUp(percentile) {
    return Math.max(0, this.#loop.percentile(percentile) / 1e6 - LOOP_RESOLUTION)
  }
}

/** Round trips before the measured ones: enough for the engine's compiler to have seen everything. */
const WARM_UP = 1000
/** Milliseconds after which a packet that has not come back is lost. */
const ECHO_TIMEOUT = 1000
/** Time-outs in a row after which nobody waits any more. */
const GIVE_UP = 3

/** Keeps so many packets on their way to somebody who sends them back, and measures how long each takes. */
export class PingPong {
  /** Whether there were enough round trips, or nothing came back for too long. */
  done = false
  #size
  #inFlight
  #send
  #source
  #times
  /** When each packet that is on its way was sent, by its number. */
  #sent = new Map()
  #trips = 0
  #lost = 0
  #silent = 0
  #watch
  #finish
  #began = 0
  #ended = 0
  /** Settles with {@link done}. */
  finished = new Promise((resolve) => {
    this.#finish = resolve
  })

  /**
   * @param {{ size: number, count: number, inFlight: number }} options
   * @param {(packet: Uint8Array) => void} send must have taken the packet when it returns
   */
  constructor({ size, count, inFlight }, send) {
    this.#size = size
    this.#inFlight = inFlight
    this.#send = send
    this.#source = new Source(size, 1)
    this.#times = new Float64Array(count)
  }

  /** Sends the first packets. */
  start() {
    let seen = -1
    // One timer for all: one for each packet would be part of what is measured.
    this.#watch = setInterval(() => {
      if (this.#trips === seen && ++this.#silent > GIVE_UP) return this.#end()
      if (this.#trips !== seen) this.#silent = 0
      seen = this.#trips
      const limit = performance.now() - ECHO_TIMEOUT
      for (const [number, time] of this.#sent) {
        if (time > limit) break
        this.#sent.delete(number)
        this.#lost++
      }
      this.refill()
    }, ECHO_TIMEOUT)
    this.refill()
  }

  /** A packet has come back. {@link refill} is due after it, or after all that came at once. */
  back(packet) {
    const now = performance.now()
    const number = sequence(packet)
    const sent = this.#sent.get(number)
    // What was given up as lost may still come.
    if (this.done || packet.length !== this.#size || sent === undefined) return
    this.#sent.delete(number)
    if (this.#trips >= WARM_UP) this.#times[this.#trips - WARM_UP] = now - sent
    if (++this.#trips === WARM_UP) this.#began = now
    if (this.#trips === WARM_UP + this.#times.length) this.#end()
  }

  /** Sends as many as have come back. */
  refill() {
    while (!this.done && this.#sent.size < this.#inFlight) {
      const number = this.#source.made
      const packet = this.#source.fill()
      this.#sent.set(number, performance.now())
      this.#send(packet)
    }
  }

  report() {
    const times = this.#times.slice(0, Math.max(0, this.#trips - WARM_UP)).sort()
    if (times.length === 0) throw new Error('no packet came back')
    const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))] * 1000
    const seconds = (this.#ended - this.#began) / 1000
    return { count: times.length, lost: this.#lost, medianUs: at(0.5), p99Us: at(0.99), seconds }
  }

  #end() {
    this.done = true
    this.#ended = performance.now()
    clearInterval(this.#watch)
    this.#finish()
  }
}
