/**
 * What became of packets that were sent: as the user is told, and as native counts it in one number a call.
 */

/**
 * What became of a packet. `'sent'`: it is encrypted and on its way to the kernel. `'queued'`: there is no session now, and
 * it waits for one, in its order. `'dropped'`: there is no session, and no room for more to wait; or the tunnel of a server
 * has closed. What is dropped is counted.
 */
export type SendOutcome = 'sent' | 'queued' | 'dropped'

/** What became of the packets of a batch, see {@link SendOutcome}; together all of them. */
export interface BatchOutcome {
  /** Packets that are on their way. */
  readonly sent: number
  /** Packets that wait for a session. */
  readonly queued: number
  /** Packets that were dropped, and counted. */
  readonly dropped: number
}

/**
 * What one call of native did, as one number, because that costs no allocation: packets sent, plus 2^11 for each that was
 * queued, plus 2^22 for each dropped. 0 is «full». `Tally` in crates/snaptun-node/src/tunnel.rs makes it.
 */
export type SendTally = number

const QUEUED = 2 ** 11
const DROPPED = 2 ** 22

/** A tally of packets that were dropped without asking native. */
export function dropped(packets: number): SendTally {
  return packets * DROPPED
}

/** What became of the only packet of a tally. */
export function outcomeOf(tally: SendTally): SendOutcome {
  if (tally >= DROPPED) return 'dropped'
  return tally >= QUEUED ? 'queued' : 'sent'
}

/** Sums up the tallies of a batch. */
export class OutcomeSum implements BatchOutcome {
  sent = 0
  queued = 0
  dropped = 0

  /** Adds a tally; returns how many packets it is about, 0 for «full». */
  add(tally: SendTally): number {
    if (tally < QUEUED) {
      this.sent += tally
      return tally
    }
    const lost = Math.floor(tally / DROPPED)
    const rest = tally % DROPPED
    const queued = rest >>> 11
    const sent = rest & (QUEUED - 1)
    this.sent += sent
    this.queued += queued
    this.dropped += lost
    return sent + queued + lost
  }

  /** The sum, for the user to keep. */
  toOutcome(): BatchOutcome {
    return { sent: this.sent, queued: this.queued, dropped: this.dropped }
  }
}
