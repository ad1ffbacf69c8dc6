/**
 * What a bad network does to a datagram, as pure functions: a policy takes a datagram on its way and says what leaves
 * instead. Chance comes from a generator that the relay seeds, so that a run is the same for the same seed.
 */

/** A number from 0 up to but not including 1. */
export type Random = () => number

/** A datagram on its way. */
export interface Passage {
  readonly bytes: Buffer
  /** How many datagrams that come after it in the same direction leave before it. */
  readonly behind: number
}

/** What leaves instead of a datagram, in this order: nothing, it, or several. */
export type Policy = (passage: Passage, random: Random) => readonly Passage[]

/** Marsaglia's xorshift with 32 bits of state: enough for a network, and the same on every machine. */
export function seeded(seed: number): Random {
  // A state of zero would stay zero.
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
}

/** Everything passes as it is. */
export const pass: Policy = (passage) => [passage]

/** Loses each datagram with this probability. */
export function drop(probability: number): Policy {
  return (passage, random) => (random() < probability ? [] : [passage])
}

/** With this probability sends a datagram `copies` times instead of once. */
export function duplicate(probability: number, copies = 2): Policy {
  return (passage, random) => Array<Passage>(random() < probability ? copies : 1).fill(passage)
}

/** With this probability lets 1 to `most` later datagrams overtake one. */
export function reorder(probability: number, most: number): Policy {
  return (passage, random) => {
    if (random() >= probability) return [passage]
    return [{ ...passage, behind: passage.behind + 1 + Math.floor(random() * most) }]
  }
}

/** With this probability flips one bit of a datagram. */
export function mutate(probability: number): Policy {
  return (passage, random) => {
    if (random() >= probability || passage.bytes.length === 0) return [passage]
    return [{ ...passage, bytes: flipped(passage.bytes, Math.floor(random() * passage.bytes.length * 8)) }]
  }
}

/** With this probability sends a changed copy ahead of a datagram, which itself passes unharmed. */
export function shadow(probability: number): Policy {
  return (passage, random) => (random() < probability ? [...mutate(1)(passage, random), passage] : [passage])
}

/** One policy behind the other. */
export function chain(...policies: readonly Policy[]): Policy {
  return (passage, random) =>
    policies.reduce<readonly Passage[]>(
      (passages, policy) => passages.flatMap((each) => policy(each, random)),
      [passage],
    )
}

/** A copy of a datagram with one bit flipped; bit 0 is the lowest one of the first byte. */
export function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
  return copy
}
