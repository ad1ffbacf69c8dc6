/**
 * Which figure of a run counts, and how it is shown.
 */

/**
 * @typedef {object} Figure
 * @property {string} unit
 * @property {number} digits to show
 * @property {boolean} more whether more is better
 * @property {(report: Record<string, any>) => number} of from what was measured
 */

const rate = (report, what) => report.ways.reduce((sum, way) => sum + way[what] / way.seconds, 0)

/** @type {Record<string, Figure>} */
export const figures = {
  goodput: { unit: 'Gbit/s', digits: 2, more: true, of: (report) => rate(report, 'bytes') * 8e-9 },
  packets: { unit: 'thousand packets/s', digits: 0, more: true, of: (report) => rate(report, 'packets') / 1e3 },
  datagrams: { unit: 'thousand datagrams/s', digits: 0, more: true, of: (report) => rate(report, 'packets') / 1e3 },
  latency: { unit: 'µs, median', digits: 1, more: false, of: (report) => report.medianUs },
  handshakes: { unit: 'handshakes/s', digits: 0, more: true, of: (report) => report.count / report.seconds },
  memory: { unit: 'bytes a tunnel', digits: 0, more: false, of: (report) => report.residentBytes },
  slowdown: { unit: 'times', digits: 1, more: false, of: (report) => report.medianUs / report.quietUs },
  unfairness: {
    unit: '% from the mean',
    digits: 1,
    more: false,
    of: ({ ways: [{ streams }] }) => {
      const mean = streams.reduce((sum, one) => sum + one, 0) / streams.length
      return (Math.max(...streams.map((one) => Math.abs(one - mean))) / mean) * 100
    },
  },
}
