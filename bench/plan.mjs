/**
 * What is measured, by whom, and how much of it in which run. The whole matrix takes an hour and a half; what is left out of the
 * usual run says little that its neighbours do not.
 */

/** @typedef {'upload' | 'download' | 'both' | 'echo' | 'datagrams' | 'handshakes' | 'memory' | 'flooded'} Kind */

/**
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} title
 * @property {Kind} kind what the peers are told
 * @property {number} size bytes of payload a packet
 * @property {number} tunnels
 * @property {number} targets addresses that datagrams without a tunnel go to, in turn
 * @property {number} inFlight packets of an echo that are on their way at once
 * @property {boolean} independent each tunnel is sent to by a loop of its own
 * @property {number} identities of the clients that ask for handshakes
 * @property {string} figure which figure of a run counts, see figures.mjs
 * @property {string} reference the contender that the others are compared with
 * @property {readonly string[]} contenders
 * @property {readonly string[]} quick those of a quick run; none: the workload is left out of it
 * @property {boolean} usual whether it is part of a run that was told nothing
 * @property {number} [rounds] fewer of them than the run has, where one takes long
 * @property {number} [seconds] that a run takes, where it needs more than others
 * @property {boolean} chart whether it gets a chart of its own
 */

const ROUTES = ['snaptun', 'core', 'snap-tun', 'snap-tun-batch', 'dgram', 'dgram-crypto']
const SEALING = ['snaptun-caller', 'snaptun-shard']
const BARE = ['aead', 'tunn']
const WORDS = { upload: 'Upload', download: 'Download', both: 'Both ways at once' }

const basis = {
  ...{ size: 1400, tunnels: 1, targets: 1, inFlight: 1, independent: false, identities: 1, reference: 'snaptun' },
  ...{ quick: [], usual: true, chart: false },
}

const SIZES = [64, 400, 1200, 1400, 8000]
/** Sizes that the usual run has, by direction; it has all of them for one tunnel uploading. */
const USUAL = { upload: SIZES, download: [64, 1400], both: [1400] }
const QUICK = {
  'upload-1400': ['snaptun', 'core', 'snap-tun', 'dgram', 'dgram-crypto', 'aead'],
  'download-1400': ['snaptun', 'snap-tun', 'dgram-crypto', 'aead'],
  'upload-64': ['snaptun', 'dgram'],
  'download-64': ['snaptun', 'dgram'],
}

function throughput(kind, size, tunnels) {
  const name = `${kind}-${size}${tunnels > 1 ? `-x${tunnels}` : ''}`
  const small = size < 100
  return {
    ...basis,
    name,
    title: `${WORDS[kind]}, ${size} bytes, ${tunnels === 1 ? 'one tunnel' : `${tunnels} tunnels`}`,
    ...{ kind, size, tunnels },
    figure: small ? 'packets' : 'goodput',
    contenders: [
      ...ROUTES,
      // Who seals was decided by these; see docs/architecture.md.
      ...(tunnels === 1 && [64, 1400].includes(size) && kind !== 'both' ? SEALING : []),
      ...(tunnels === 1 && kind === 'upload' ? ['udp'] : []),
      ...(tunnels === 1 && kind !== 'both' ? BARE : []),
    ],
    quick: QUICK[name] ?? [],
    usual: tunnels === 1 ? USUAL[kind].includes(size) : size === 1400 || (size === 64 && kind === 'upload'),
    chart: tunnels === 1 && [64, 1400].includes(size),
  }
}

function echo(inFlight) {
  return {
    ...basis,
    name: inFlight === 1 ? 'echo-64' : `echo-64-x${inFlight}`,
    title: inFlight === 1 ? 'One packet to and fro, 64 bytes' : `${inFlight} packets to and fro at once, 64 bytes`,
    ...{ kind: 'echo', size: 64, inFlight },
    figure: 'latency',
    contenders: [...ROUTES, ...SEALING],
    quick: inFlight === 1 ? ['snaptun', 'dgram'] : [],
    chart: true,
  }
}

/** Without any tunnel: this package's socket beside Node's. */
function datagrams(size, targets) {
  const several = targets > 1
  return {
    ...basis,
    name: `datagrams-${size}${several ? `-x${targets}` : ''}`,
    title: `Datagrams in clear, ${size} bytes, ${several ? `${targets} targets in turn` : 'one target'}`,
    ...{ kind: 'datagrams', size, targets, figure: 'datagrams', reference: 'udp-batch-socket' },
    contenders: ['udp-batch-socket', 'dgram', ...(several ? [] : ['udp'])],
    quick: several && size < 100 ? [] : ['udp-batch-socket', 'dgram'],
    chart: !several && size > 100,
  }
}

/** Whether many tunnels get the same, each with a sender that knows nothing of the others. */
function fairness(kind) {
  return {
    ...throughput(kind, 1400, 64),
    name: `fair-${kind}`,
    title: `64 tunnels at once, ${kind}: furthest from an equal share`,
    independent: true,
    // The package lets a loop send 1,024 packets before it is another one's turn: 80 ms until all had theirs.
    seconds: 4,
    figure: 'unfairness',
    contenders: ['snaptun'],
    usual: true,
  }
}

/** What an option is worth: 1,400 bytes, one tunnel, uploading. */
function tuning(name, title) {
  return { ...throughput('upload', 1400, 1), name, title: `${title}: 1400 bytes, upload`, quick: [], chart: false }
}

function scaling(size) {
  return {
    ...throughput('upload', size, 64),
    name: `workers-${size}`,
    title: `Workers and shards: 64 tunnels upload, ${size} bytes`,
    reference: 'snaptun-w1',
    contenders: ['snaptun-w1', 'snaptun-w2', 'snaptun-w4'],
    usual: true,
    chart: true,
  }
}

/** @type {readonly Workload[]} In the order of the tables. */
export const workloads = [
  ...SIZES.flatMap((size) => ['upload', 'download', 'both'].map((kind) => throughput(kind, size, 1))),
  ...SIZES.flatMap((size) => ['upload', 'download', 'both'].map((kind) => throughput(kind, size, 64))),
  echo(1),
  echo(64),
  datagrams(1200, 1),
  datagrams(1200, 64),
  datagrams(64, 1),
  datagrams(64, 64),
  {
    ...basis,
    name: 'handshakes',
    title: 'Handshakes a second, of 64 identities that are known',
    ...{ kind: 'handshakes', identities: 64, figure: 'handshakes', chart: true },
    contenders: ['snaptun', 'snap-tun', 'tunn'],
    quick: ['snaptun', 'tunn'],
  },
  {
    ...basis,
    name: 'handshakes-new',
    title: 'Handshakes a second, each of an identity that authorize is asked for',
    ...{ kind: 'handshakes', identities: Number.MAX_SAFE_INTEGER, figure: 'handshakes' },
    contenders: ['snaptun', 'tunn'],
  },
  fairness('upload'),
  fairness('download'),
  {
    ...basis,
    name: 'flooded',
    title: 'Echo of 8 tunnels while another one floods: median, times the quiet one',
    ...{ kind: 'flooded', figure: 'slowdown', contenders: ['snaptun', 'snaptun-208k'] },
  },
  {
    ...tuning('batches', 'What a call of sendBatch carries'),
    contenders: ['snaptun-b1', 'snaptun-b8', 'snaptun-b45', 'snaptun-b138', 'snaptun-b1024'],
    reference: 'snaptun-b138',
  },
  {
    ...tuning('buffers', 'Socket buffers'),
    contenders: ['snaptun', 'snaptun-1m', 'snaptun-208k'],
  },
  scaling(1400),
  scaling(64),
  {
    ...basis,
    name: 'memory',
    title: 'Memory of an idle tunnel of a server',
    ...{ kind: 'memory', identities: 1, figure: 'memory', rounds: 1 },
    contenders: ['snaptun', 'tunn'],
    quick: ['snaptun', 'tunn'],
  },
]

/** Who has to be asked for: what they show is known, and the usual run has no time for them. */
const EXTRA = new Set(SEALING)

/**
 * The workloads of a run, each with its contenders.
 * @param {'quick' | 'usual' | 'all'} extent
 * @param {readonly string[]} names of contenders and workloads; of none of one sort: all of that sort
 */
export function plan(extent, names) {
  const contenders = new Set(workloads.flatMap((one) => one.contenders))
  const unknown = names.find((name) => !contenders.has(name) && !workloads.some((one) => one.name === name))
  if (unknown !== undefined) throw new Error(`there is no contender and no workload '${unknown}'`)
  const who = new Set(names.filter((name) => contenders.has(name)))
  const what = new Set(names.filter((name) => !contenders.has(name)))
  const taking = (workload) => {
    if (who.size > 0) return workload.contenders.filter((name) => who.has(name))
    if (extent === 'quick' && workload.quick.length > 0) return workload.quick
    return workload.contenders.filter((name) => extent === 'all' || !EXTRA.has(name))
  }
  const chosen = (workload) => {
    if (what.size > 0) return what.has(workload.name)
    return { quick: workload.quick.length > 0, usual: workload.usual, all: true }[extent]
  }
  return workloads
    .filter(chosen)
    .map((workload) => ({ ...workload, contenders: taking(workload) }))
    .filter((workload) => workload.contenders.length > 0)
}
