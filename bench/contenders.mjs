/**
 * Who is measured. A contender says for each workload which processes it takes, or nothing where it has no part in it.
 */
import { fileURLToPath } from 'node:url'
import { loadIdentity } from './keys.mjs'

const path = (name) => fileURLToPath(new URL(name, import.meta.url))
const PEERS = path('../crates/peers/target/release/snap-tun-bench')
const CORE = path('../target/release/examples/core_bench')

/** The one that others are compared with. */
export const OURS = 'snaptun'
/** The same where there is no tunnel. */
export const OUR_SOCKET = 'udp-batch-socket'

/**
 * What a run is about.
 * @typedef {{
 *   kind: import('./plan.mjs').Kind, size: number, tunnels: number, targets: number, inFlight: number, identities: number,
 *   independent: boolean, seconds: number, count: number, socketBuffer: number,
 *   serverKeys: import('./keys.mjs').KeyPair, clientKeys: import('./keys.mjs').KeyPair,
 * }} Run
 */

/**
 * @typedef {object} Contender
 * @property {string} name
 * @property {string} title
 * @property {string} about
 * @property {'peers' | 'core'} [needs] what has to be built for it beside the package
 * @property {Record<string, string>} [env]
 * @property {number} [socketBuffer] bytes, where they are another number than all others get
 * @property {boolean} [loose] its processes are not bound to one core each
 * @property {(run: Run) => (string[] | undefined)} [server] the command of its server; says where it listens
 * @property {(run: Run, server: string) => string[]} [client]
 * @property {(run: Run) => (string[] | undefined)} [alone] where there is one process, and no network
 */

const traffic = ['upload', 'download', 'both', 'echo']

/** A contender in Rust: `core_bench ROLE name=value…`. */
function core(role, values) {
  return [CORE, role, ...Object.entries(values).map(([name, value]) => `${name}=${value}`)]
}

/** What loads servers with handshakes, whoever's they are. */
function handshakeLoad({ count, identities, socketBuffer, serverKeys }, server) {
  return core('handshake-load', { server, serverPublicKey: serverKeys.publicHex, count, identities, socketBuffer })
}

/** What every peer is told. */
function common({ kind, size, tunnels, targets, inFlight, independent, seconds, count, socketBuffer }) {
  return { kind, size, tunnels, targets, inFlight, independent, seconds, count, socketBuffer }
}

/** A peer in JavaScript; `extra` is what its two sides are told beside what all are told. */
function script(name, kinds, extra = () => ({})) {
  const command = (options) => [process.execPath, path(`peers/${name}.mjs`), JSON.stringify(options)]
  return {
    server: (run) =>
      kinds.includes(run.kind) ? command({ ...common(run), role: 'server', ...extra(run).server }) : undefined,
    client: (run, server) =>
      run.kind === 'handshakes'
        ? handshakeLoad(run, server)
        : command({ ...common(run), role: 'client', server, ...extra(run).client }),
  }
}

/** Ours, as users get it, or with what its environment and options change. */
function ours(env = {}, options = {}) {
  return {
    env,
    ...script('snaptun', [...traffic, 'handshakes'], ({ serverKeys, clientKeys }) => ({
      server: { privateKey: serverKeys.private64, authorized: clientKeys.public64, ...options },
      client: { privateKey: clientKeys.private64, serverPublicKey: serverKeys.public64, ...options },
    })),
  }
}

/** Ours with so many workers, and as many shards of the server; the system spreads them over the cores. */
function scaled(workers) {
  return {
    name: `snaptun-w${workers}`,
    title: `${workers} worker${workers > 1 ? 's' : ''}, ${workers} shard${workers > 1 ? 's' : ''}`,
    about: `this package with SNAPTUN_WORKERS=${workers} and ${workers} shards, its processes not bound to a core`,
    loose: true,
    needs: 'core',
    ...ours({ SNAPTUN_WORKERS: String(workers) }, { shards: workers }),
  }
}

/** Ours with another number of packets in each call. */
function batched(packets) {
  return {
    name: `snaptun-b${packets}`,
    title: `${packets} packet${packets > 1 ? 's' : ''} a call`,
    about: `this package, its sender handing over so many packets in each call of sendBatch`,
    ...ours({}, { batch: packets }),
  }
}

/** Ours with socket buffers of another size. */
function buffered(name, socketBuffer, title) {
  return { name: `snaptun-${name}`, title, about: `this package with ${title}`, socketBuffer, ...ours() }
}

/** The harness over the crate `snap-tun`; `via` is the way through its client's interface. */
function peers(via) {
  const shared = ({ socketBuffer, size, tunnels }) => [
    ...['--socket-buffer', String(socketBuffer), '--size', String(size), '--tunnels', String(tunnels)],
  ]
  const loaded = ({ identities }) => Array.from({ length: identities }, (_, at) => loadIdentity(at).publicHex).join(',')
  return {
    needs: 'peers',
    server: (run) => {
      const { kind } = run
      if (![...traffic, 'handshakes'].includes(kind)) return undefined
      return [
        ...[PEERS, 'server', '--private-key', run.serverKeys.privateHex, ...shared(run)],
        ...['--authorize', kind === 'handshakes' ? loaded(run) : run.clientKeys.publicHex],
        ...{
          upload: [],
          download: ['--flood'],
          both: ['--flood', '--count'],
          echo: ['--echo'],
          handshakes: ['--handshake-limit', '1000000000'],
        }[kind],
      ]
    },
    client: (run, server) => {
      if (run.kind === 'handshakes') return handshakeLoad(run, server)
      const keys = ['--private-key', run.clientKeys.privateHex, '--server-public-key', run.serverKeys.publicHex]
      const seconds = ['--seconds', String(run.seconds)]
      return [
        ...[PEERS, 'client', '--server', server, ...keys, '--via', via, ...shared(run)],
        ...{
          upload: seconds,
          download: ['--receive', ...seconds],
          both: ['--receive', '--send', ...seconds],
          echo: ['--echo', '--count', String(run.count), '--in-flight', String(run.inFlight)],
        }[run.kind],
      ]
    },
  }
}

/** Our core without Node. */
function withoutNode() {
  return {
    needs: 'core',
    server: (run) =>
      traffic.includes(run.kind)
        ? core('server', {
            ...{ workload: run.kind, size: run.size, tunnels: run.tunnels, socketBuffer: run.socketBuffer },
            ...{ privateKey: run.serverKeys.privateHex, authorized: run.clientKeys.publicHex },
          })
        : undefined,
    client: ({ kind, clientKeys, serverKeys, independent: _, targets: __, ...run }, server) =>
      core('client', {
        ...{ ...run, workload: kind, server },
        ...{ privateKey: clientKeys.privateHex, serverPublicKey: serverKeys.publicHex },
      }),
  }
}

/** What is measured in one process on one core: sealing for an upload, opening for a download. */
function bare(role) {
  return {
    needs: 'core',
    alone: ({ kind, size, seconds, tunnels }) =>
      ['upload', 'download'].includes(kind) && tunnels === 1
        ? core(role, { workload: kind, size, seconds })
        : undefined,
  }
}

/** `node:dgram`: in place of a tunnel, or of our socket. */
function dgram() {
  const [tunnels, sockets] = [script('dgram', traffic), script('datagrams-dgram', ['datagrams'])]
  const whose = ({ kind }) => (kind === 'datagrams' ? sockets : tunnels)
  return {
    server: (run) => whose(run).server(run),
    client: (run, server) => whose(run).client(run, server),
  }
}

/** Bytes that a tunnel adds to a packet; `core_bench` adds them to what it sends without one. */
const TUNNEL_OVERHEAD = 32

/** Bare sockets in Rust. Their packets are one stream to one target. */
function bareUdp() {
  const packet = ({ kind, size }) => (kind === 'datagrams' ? size - TUNNEL_OVERHEAD : size)
  const takesPart = ({ kind, tunnels, targets }) =>
    ['upload', 'datagrams'].includes(kind) && tunnels === 1 && targets === 1
  return {
    needs: 'core',
    server: (run) =>
      takesPart(run) ? core('udp-server', { size: packet(run), socketBuffer: run.socketBuffer }) : undefined,
    client: (run, server) => {
      const { socketBuffer, seconds } = run
      return core('udp-client', { size: packet(run), socketBuffer, seconds, server })
    },
  }
}

/** @type {readonly Contender[]} In the order of the tables. */
export const contenders = [
  { name: OURS, title: 'snaptun', about: 'this package, as users get it', needs: 'core', ...ours() },
  {
    name: 'snaptun-caller',
    title: 'snaptun, caller seals',
    about: 'this package; the JavaScript thread always waits for the state and seals itself',
    ...ours({ SNAPTUN_SEND_MODE: 'caller' }),
  },
  {
    name: 'snaptun-shard',
    title: 'snaptun, worker seals',
    about: 'this package; every packet goes through the queue to the worker thread',
    ...ours({ SNAPTUN_SEND_MODE: 'shard' }),
  },
  ...[1, 2, 4].map(scaled),
  ...[1, 8, 45, 138, 1024].map(batched),
  buffered('208k', 212_992, 'socket buffers of 208 KiB'),
  buffered('1m', 1 << 20, 'socket buffers of 1 MiB'),
  {
    name: 'core',
    title: 'our core in Rust',
    about: 'Rust; what this package is made of, without Node: engine handles and rings, one thread beside the worker',
    ...withoutNode(),
  },
  {
    name: 'snap-tun',
    title: 'snap-tun 0.8.6',
    about: 'Rust; the client and the server of that crate as they are, the server with its batch receiver',
    ...peers('try-send'),
  },
  {
    name: 'snap-tun-batch',
    title: 'snap-tun 0.8.6, parts',
    about: 'Rust; in place of its client, its protocol and its batched UDP put together by hand',
    ...peers('batch'),
  },
  {
    name: OUR_SOCKET,
    title: 'UdpBatchSocket, in clear',
    about: 'this package without any tunnel: its batched socket',
    ...script('datagrams-batched', ['datagrams']),
  },
  {
    name: 'dgram',
    title: 'node:dgram, in clear',
    about: 'what Node has for UDP, without any encryption',
    ...dgram(),
  },
  {
    name: 'dgram-crypto',
    title: 'node:dgram + node:crypto',
    about: 'the same with ChaCha20-Poly1305 on each packet',
    ...script('dgram', traffic, ({ clientKeys: { private64: key } }) => ({ server: { key }, client: { key } })),
  },
  {
    name: 'udp',
    title: 'bare GSO and GRO, in clear',
    about: 'Rust; quinn-udp and nothing else; beside tunnels, datagrams as long as theirs',
    ...bareUdp(),
  },
  {
    name: 'aead',
    title: 'bare ChaCha20-Poly1305',
    about: 'Rust; ring alone on one core: sealing for an upload, opening for a download; no packet is sent',
    ...bare('aead'),
  },
  {
    name: 'tunn',
    title: 'bare Tunn',
    about:
      'Rust; the protocol under this package on one core, without a socket: sealing, opening, or answering handshakes',
    ...bare('tunn'),
    alone: (run) =>
      run.kind === 'handshakes' || run.kind === 'memory'
        ? core('handshakes', { count: run.count, identities: run.identities })
        : bare('tunn').alone(run),
  },
]

/** @param {string} name */
export function contender(name) {
  const found = contenders.find((one) => one.name === name)
  if (found === undefined) throw new Error(`there is no contender '${name}'`)
  return found
}
