/**
 * What several rounds of one measurement come to.
 */

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * Median and extremes; null when there are no values. The extremes are shown as they are: with a handful of rounds a
 * standard deviation would say less.
 * @param {readonly (number | null | undefined)[]} values
 */
export function summary(values) {
  const known = values.filter((value) => Number.isFinite(value))
  if (known.length === 0) return null
  return { median: median(known), min: Math.min(...known), max: Math.max(...known) }
}
