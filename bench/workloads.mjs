/**
 * What is measured, and which figure of it counts.
 */

/**
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} title
 * @property {'upload' | 'download' | 'echo'} kind what the peers are told
 * @property {number} size bytes of payload a packet
 * @property {string} unit of {@link figure}
 * @property {number} digits of it to show
 * @property {boolean} more whether more is better
 * @property {(report: Record<string, number>) => number} figure from what the peer reported who receives
 */

const gigabits = (report) => (report.bytes * 8e-9) / report.seconds
const thousands = (report) => report.packets / report.seconds / 1e3

/** @type {readonly Workload[]} */
export const workloads = [
  {
    name: 'upload-1400',
    title: 'Upload, 1400 bytes, one tunnel',
    kind: 'upload',
    size: 1400,
    unit: 'Gbit/s',
    digits: 2,
    more: true,
    figure: gigabits,
  },
  {
    name: 'download-1400',
    title: 'Download, 1400 bytes, one tunnel',
    kind: 'download',
    size: 1400,
    unit: 'Gbit/s',
    digits: 2,
    more: true,
    figure: gigabits,
  },
  {
    name: 'upload-64',
    title: 'Packets a second, 64 bytes, one tunnel',
    kind: 'upload',
    size: 64,
    unit: 'thousand packets/s',
    digits: 0,
    more: true,
    figure: thousands,
  },
  {
    name: 'echo-64',
    title: 'One packet to and fro, 64 bytes, median',
    kind: 'echo',
    size: 64,
    unit: 'µs',
    digits: 1,
    more: false,
    figure: (report) => report.medianUs,
  },
]
