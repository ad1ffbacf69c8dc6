/**
 * The send side that client tunnels and servers share. One sender is one order: what its callers hand over leaves in the
 * order of the calls, also what waits for room. A tunnel has one; a server has one a shard, so that a shard that is
 * full holds up nobody else.
 */
import { again, fromNative, SnapTunError } from './errors.js'
import { checkPacket, makeJob, PacketJob, type SendBatchInput, type SendJob } from './send-job.js'
import { type BatchOutcome, outcomeOf, type SendOutcome } from './send-outcome.js'
import type { RoomTarget, SendTarget } from './send-target.js'
import { spend } from './turn-budget.js'
import { first, Waiter } from './waiter.js'

/**
 * Calls that may wait for room at once. Whoever awaits what it sends never has more than one waiting; the bound is for
 * those who don't, whose memory would grow with the time that the network is slower than they.
 */
const MAX_WAITING = 16_384

/** What a call returns that needs not wait: always the same promise, so that a packet costs no allocation. */
const SETTLED: Readonly<Record<SendOutcome, Promise<SendOutcome>>> = {
  sent: Promise.resolve('sent'),
  queued: Promise.resolve('queued'),
  dropped: Promise.resolve('dropped'),
}

class WaitingSend extends Waiter<SendOutcome | BatchOutcome> {
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

class WaitingForRoom extends Waiter<void> {
  readonly target: RoomTarget

  constructor(queue: Set<WaitingForRoom>, signal: AbortSignal | undefined, target: RoomTarget) {
    super(queue, signal)
    this.target = target
  }
}

/** See the module. */
export class PacketSender {
  readonly #waiting = new Set<WaitingSend>()
  /** Those who want to know when there is room. Sends don't wait behind them. */
  readonly #watching = new Set<WaitingForRoom>()
  #end: SnapTunError | undefined
  #resuming = false

  /** Sends one packet; waits for room. */
  send(target: SendTarget, packet: Uint8Array, signal: AbortSignal | undefined): Promise<SendOutcome> {
    if (this.#end !== undefined) return Promise.reject(again(this.#end))
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    try {
      checkPacket(packet, target)
      const tally = this.#waiting.size === 0 ? target.send(packet) : 0
      if (tally !== 0) {
        const outcome = outcomeOf(tally)
        return spend(1)?.then(() => outcome) ?? SETTLED[outcome]
      }
    } catch (error) {
      return Promise.reject(fromNative(error))
    }
    return this.#wait<SendOutcome>(new PacketJob(target, packet), signal)
  }

  /** Sends one packet if there is room, and nobody waits who came first. */
  trySend(target: SendTarget, packet: Uint8Array): boolean {
    if (this.#end !== undefined) throw again(this.#end)
    checkPacket(packet, target)
    if (this.#waiting.size > 0) return false
    try {
      const tally = target.send(packet)
      return tally !== 0 && outcomeOf(tally) !== 'dropped'
    } catch (error) {
      throw fromNative(error)
    }
  }

  /** Sends many; waits for room as often as need be. */
  sendBatch(target: SendTarget, input: SendBatchInput, signal: AbortSignal | undefined): Promise<BatchOutcome> {
    let job: SendJob<BatchOutcome>
    try {
      job = makeJob(target, input)
    } catch (error) {
      return Promise.reject(error)
    }
    return this.run(job, signal)
  }

  /** As {@link sendBatch}, for a job that was made already. */
  run(job: SendJob<BatchOutcome>, signal: AbortSignal | undefined): Promise<BatchOutcome> {
    if (this.#end !== undefined) return Promise.reject(again(this.#end))
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    try {
      if (this.#waiting.size === 0) {
        const progress = job.advance()
        if (progress === 'done') {
          const { outcome } = job
          return spend(job.packets)?.then(() => outcome) ?? Promise.resolve(outcome)
        }
        if (progress === 'more') this.#resume()
      }
    } catch (error) {
      return Promise.reject(fromNative(error))
    }
    return this.#wait(job, signal)
  }

  /** Settles when a packet to `target` would be taken. */
  untilWritable(target: RoomTarget, signal: AbortSignal | undefined): Promise<void> {
    if (this.#end !== undefined) return Promise.reject(again(this.#end))
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    if (this.#waiting.size === 0 && target.hasRoom()) return Promise.resolve()
    if (this.#watching.size >= MAX_WAITING) return Promise.reject(tooMany())
    return new WaitingForRoom(this.#watching, signal, target).promise
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
        else waiter.resolve(waiter.job.outcome)
      } catch (error) {
        waiter.reject(fromNative(error))
      }
    }
    for (const watcher of this.#watching) {
      if (watcher.target.hasRoom()) watcher.resolve()
    }
  }

  /** Nothing can be sent any more: who waits gets `error`, and so does everybody from now on. */
  close(error: SnapTunError): void {
    this.#end = error
    for (const waiter of this.#waiting) waiter.dismiss(again(error))
    for (const watcher of this.#watching) watcher.dismiss(again(error))
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

  #wait<Outcome extends SendOutcome | BatchOutcome>(
    job: SendJob<Outcome>,
    signal: AbortSignal | undefined,
  ): Promise<Outcome> {
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(tooMany())
    // Its own job is what it is settled with.
    return new WaitingSend(this.#waiting, signal, job).promise as Promise<Outcome>
  }
}

function tooMany(): SnapTunError {
  return new SnapTunError(
    'ERR_SNAPTUN_TOO_MANY_SENDS',
    `${MAX_WAITING} calls wait for room already: await what send() returns, or use trySend()`,
  )
}
