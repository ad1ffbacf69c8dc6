/**
 * The send side that client tunnels and servers share. One sender is one order: what its callers hand over leaves in the
 * order of the calls, also what waits for room. A tunnel has one; a server has one a shard, so that a shard that is
 * full holds up nobody else.
 */
import { again, fromNative, SnapTunError } from './errors.js'
import { checkPacket, makeJob, PacketJob, type SendBatchInput, type SendJob, TURN_PACKETS } from './send-job.js'
import type { SendTarget } from './send-target.js'
import { first, Waiter } from './waiter.js'

/**
 * Calls that may wait for room at once. Whoever awaits what it sends never has more than one waiting; the bound is for
 * those who don't, whose memory would grow with the time that the network is slower than they.
 */
const MAX_WAITING = 16_384

/** What a call returns that needs not wait: the same promise for all, so that a packet costs no allocation. */
const DONE: Promise<void> = Promise.resolve()

/** Settles after a turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

class WaitingSend extends Waiter<void> {
  readonly job: SendJob

  constructor(queue: Set<WaitingSend>, signal: AbortSignal | undefined, job: SendJob) {
    super(queue, signal)
    this.job = job
    job.hold?.()
  }

  protected override left(): void {
    this.job.unhold?.()
  }
}

/** See the module. */
export class PacketSender {
  readonly #waiting = new Set<WaitingSend>()
  #end: SnapTunError | undefined
  /** Packets that were sent since a caller was last made to wait for a turn of the event loop. */
  #burst = 0
  #resuming = false

  /** Sends one packet; waits for room. */
  send(target: SendTarget, packet: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(again(this.#end))
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    try {
      checkPacket(packet, target)
      if (this.#waiting.size === 0 && target.send(packet) === 1) return this.#sent(1)
    } catch (error) {
      return Promise.reject(fromNative(error))
    }
    return this.#wait(new PacketJob(target, packet), signal)
  }

  /** Sends one packet if there is room, and nobody waits who came first. */
  trySend(target: SendTarget, packet: Uint8Array): boolean {
    if (this.#end !== undefined) throw again(this.#end)
    checkPacket(packet, target)
    if (this.#waiting.size > 0) return false
    try {
      return target.send(packet) === 1
    } catch (error) {
      throw fromNative(error)
    }
  }

  /** Sends many; waits for room as often as need be. */
  sendBatch(target: SendTarget, input: SendBatchInput, signal: AbortSignal | undefined): Promise<void> {
    let job: SendJob
    try {
      job = makeJob(target, input)
    } catch (error) {
      return Promise.reject(error)
    }
    return this.run(job, signal)
  }

  /** As {@link sendBatch}, for a job that was made already. */
  run(job: SendJob, signal: AbortSignal | undefined): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(again(this.#end))
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    try {
      if (this.#waiting.size === 0) {
        const progress = job.advance()
        if (progress === 'done') return this.#sent(job.packets)
        if (progress === 'more') this.#resume()
      }
    } catch (error) {
      return Promise.reject(fromNative(error))
    }
    return this.#wait(job, signal)
  }

  /** There is room again: goes on with those who wait, in their order. */
  writable(): void {
    for (let waiter = first(this.#waiting); waiter !== undefined; waiter = first(this.#waiting)) {
      // It goes on after a turn of the event loop.
      if (this.#resuming) return
      try {
        const progress = waiter.job.advance()
        if (progress === 'full') return
        if (progress === 'more') this.#resume()
        else waiter.resolve()
      } catch (error) {
        waiter.reject(fromNative(error))
      }
    }
  }

  /** Nothing can be sent any more: who waits gets `error`, and so does everybody from now on. */
  close(error: SnapTunError): void {
    this.#end = error
    for (const waiter of this.#waiting) waiter.dismiss(again(error))
  }

  /**
   * Packets were sent at once. Whoever sends on and on, awaiting each call, would otherwise never let the event loop turn:
   * a promise that is settled already does not.
   */
  #sent(packets: number): Promise<void> {
    this.#burst += packets
    if (this.#burst < TURN_PACKETS) return DONE
    this.#burst = 0
    return turn()
  }

  /** Goes on after a turn of the event loop. */
  #resume(): void {
    if (this.#resuming) return
    this.#resuming = true
    setImmediate(() => {
      this.#resuming = false
      this.writable()
    })
  }

  #wait(job: SendJob, signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.size >= MAX_WAITING) {
      return Promise.reject(
        new SnapTunError(
          'ERR_SNAPTUN_TOO_MANY_SENDS',
          `${MAX_WAITING} sends wait for room already: await what send() returns, or use trySend()`,
        ),
      )
    }
    return new WaitingSend(this.#waiting, signal, job).promise
  }
}
