/**
 * Round-trip times in a fixed number of counters: exact to the microsecond up to 63, within 1.6% above.
 *
 * Each power of two is divided into 32 buckets, so that hours of measuring take no more memory than a second.
 */
const BITS = 5
const PER_OCTAVE = 1 << BITS
/** What is longer counts as that: 67 seconds, in microseconds. */
const LONGEST = 2 ** 26 - 1

function bucketOf(microseconds: number): number {
  const value = Math.min(Math.max(Math.round(microseconds), 0), LONGEST)
  const shift = Math.max(31 - Math.clz32(value) - BITS, 0)
  return shift * PER_OCTAVE + (value >>> shift)
}

/** The middle of a bucket, in microseconds. */
function middleOf(bucket: number): number {
  if (bucket < 2 * PER_OCTAVE) return bucket
  const shift = (bucket >>> BITS) - 1
  const lowest = (PER_OCTAVE + (bucket & (PER_OCTAVE - 1))) << shift
  return lowest + ((1 << shift) - 1) / 2
}

/** See the module. */
export class Histogram {
  readonly #buckets = new Float64Array(bucketOf(LONGEST) + 1)
  #count = 0

  record(microseconds: number): void {
    const bucket = bucketOf(microseconds)
    this.#buckets[bucket] = (this.#buckets[bucket] as number) + 1
    this.#count++
  }

  /** Adds what another one has counted, given as {@link counts} returns it. */
  add(counts: readonly number[]): void {
    counts.forEach((count, bucket) => {
      this.#buckets[bucket] = (this.#buckets[bucket] as number) + count
      this.#count += count
    })
  }

  clear(): void {
    this.#buckets.fill(0)
    this.#count = 0
  }

  /** The counters, as they can be sent to another process. */
  counts(): number[] {
    return Array.from(this.#buckets)
  }

  /** The time in microseconds that the part `share` (0 to 1) of all stays below, or undefined when there is none. */
  quantile(share: number): number | undefined {
    let left = Math.max(Math.ceil(this.#count * share), 1)
    const bucket = this.#buckets.findIndex((count) => {
      left -= count
      return left <= 0
    })
    return bucket === -1 ? undefined : middleOf(bucket)
  }
}
