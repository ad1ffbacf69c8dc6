/**
 * Packets to and fro at a steady rate, of which it is known when each was sent.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds for the last packets to come back. */
const DRAIN = 200
/** Milliseconds between two looks at what is due: bursts of five packets at 5,000 a second. */
const PACE = 1
/** Bytes of a packet: its number, the number of its run, and nothing more of interest. */
const SIZE = 64

/** Echoes through one tunnel or several, in turn. */
export class PacedEcho {
  #tunnels
  #run = 0
  #back = () => undefined
  /** Settles when all tunnels have closed. */
  received

  /** @param {readonly import('../../dist/index.js').SnapTunnel[]} tunnels */
  constructor(tunnels) {
    this.#tunnels = tunnels
    this.received = Promise.all(tunnels.map((tunnel) => this.#receive(tunnel)))
  }

  /**
   * Sends so many packets a second for so many seconds; counts what comes back, and how long it took, in microseconds.
   * @param {{ rate: number, seconds: number }} pace
   */
  async run({ rate, seconds }) {
    const total = Math.ceil(rate * seconds)
    const sentAt = new Float64Array(total)
    const times = []
    this.#back = (number, now) => times.push((now - sentAt[number]) * 1000)
    const packet = Buffer.alloc(SIZE)
    packet.writeUInt32LE(++this.#run, 4)
    const start = performance.now()
    let sent = 0
    while (sent < total) {
      const due = Math.min(total, Math.ceil(((performance.now() - start) / 1000) * rate))
      for (; sent < due; sent++) {
        packet.writeUInt32LE(sent)
        sentAt[sent] = performance.now()
        this.#tunnels[sent % this.#tunnels.length].trySend(packet)
      }
      await sleep(PACE)
    }
    for (const end = performance.now() + DRAIN; times.length < sent && performance.now() < end; ) await sleep(PACE)
    times.sort((a, b) => a - b)
    const at = (share) => times[Math.floor(share * (times.length - 1))] ?? Number.NaN
    return { sent, lost: sent - times.length, median: at(0.5), p99: at(0.99) }
  }

  async #receive(tunnel) {
    for await (const batch of tunnel.batches()) {
      const now = performance.now()
      for (let i = 0; i < batch.length; i++) {
        const data = Buffer.from(batch.data(i).buffer, batch.data(i).byteOffset, SIZE)
        // What is late belongs to no run any more.
        if (data.readUInt32LE(4) === this.#run) this.#back(data.readUInt32LE(), now)
      }
    }
  }
}
