/**
 * Who is measured: each a server and a client, processes of their own that speak the same lines of JSON.
 */
import { fileURLToPath } from 'node:url'

const RUST = fileURLToPath(new URL('../crates/peers/target/release/snap-tun-bench', import.meta.url))
const peer = (name) => fileURLToPath(new URL(`peers/${name}.mjs`, import.meta.url))

/**
 * What a run is about.
 * @typedef {{
 *   workload: 'upload' | 'download' | 'echo', size: number, seconds: number, count: number, socketBuffer: number,
 *   serverKeys: import('./keys.mjs').KeyPair, clientKeys: import('./keys.mjs').KeyPair,
 * }} Run
 */

/**
 * A peer in JavaScript; `extra` is what it is told beside what all are told.
 * @param {string} name
 * @param {(run: Run) => { server?: object, client?: object }} extra
 */
function script(name, extra = () => ({})) {
  const command = (options) => [process.execPath, peer(name), JSON.stringify(options)]
  const common = ({ workload, size, seconds, count, socketBuffer }) => ({
    workload,
    size,
    seconds,
    count,
    socketBuffer,
  })
  return {
    server: (run) => command({ ...common(run), role: 'server', ...extra(run).server }),
    client: (run, server) => command({ ...common(run), role: 'client', server, ...extra(run).client }),
  }
}

/** Ours, with one way to decide who seals; `auto` is the one that users get. */
function ours(mode) {
  return {
    ...script('snaptun', ({ serverKeys, clientKeys }) => ({
      server: { privateKey: serverKeys.private64, authorized: clientKeys.public64 },
      client: { privateKey: clientKeys.private64, serverPublicKey: serverKeys.public64 },
    })),
    env: { SNAPTUN_SEND_MODE: mode },
  }
}

/** The harness over the crate `snap-tun`; `via` is the way through its client's interface. */
function rust(via) {
  const buffer = ({ socketBuffer }) => ['--socket-buffer', String(socketBuffer)]
  const sized = ({ size }) => ['--size', String(size)]
  return {
    server: (run) => [
      ...[RUST, 'server', '--private-key', run.serverKeys.privateHex, '--authorize', run.clientKeys.publicHex],
      ...buffer(run),
      ...{ upload: [], download: ['--flood', ...sized(run)], echo: ['--echo'] }[run.workload],
    ],
    client: (run, server) => [
      ...[RUST, 'client', '--server', server, '--private-key', run.clientKeys.privateHex],
      ...['--server-public-key', run.serverKeys.publicHex, '--via', via],
      ...buffer(run),
      ...sized(run),
      ...{
        upload: ['--seconds', String(run.seconds)],
        download: ['--receive', '--seconds', String(run.seconds)],
        echo: ['--echo', '--count', String(run.count)],
      }[run.workload],
    ],
  }
}

/** The one that all others are compared with. */
export const OURS = 'snaptun'

/**
 * In the order of the tables.
 * @type {readonly {
 *   name: string, title: string, about: string,
 *   always: boolean, // also in a quick run
 *   rust?: boolean, // needs the harness over `snap-tun`
 *   env?: Record<string, string>,
 *   server: (run: Run) => string[], client: (run: Run, server: string) => string[],
 * }[]}
 */
export const contenders = [
  { name: OURS, title: 'snaptun', about: 'this package, as users get it', always: true, ...ours('auto') },
  {
    name: 'snaptun-caller',
    title: 'snaptun, caller seals',
    about: 'this package; the JavaScript thread always waits for the state and seals itself',
    always: false,
    ...ours('caller'),
  },
  {
    name: 'snaptun-shard',
    title: 'snaptun, worker seals',
    about: 'this package; every packet goes through the queue to the worker thread',
    always: false,
    ...ours('shard'),
  },
  {
    name: 'snap-tun',
    title: 'snap-tun 0.8.6',
    about: 'Rust; the client and the server of that crate as they are, the server with its batch receiver',
    always: true,
    rust: true,
    ...rust('try-send'),
  },
  {
    name: 'snap-tun-batch',
    title: 'snap-tun 0.8.6, parts',
    about: 'Rust; in place of its client, its protocol and its batched UDP put together by hand',
    always: true,
    rust: true,
    ...rust('batch'),
  },
  {
    name: 'dgram',
    title: 'node:dgram, in clear',
    about: 'what Node has for UDP, without any encryption',
    always: true,
    ...script('dgram'),
  },
  {
    name: 'dgram-crypto',
    title: 'node:dgram + node:crypto',
    about: 'the same with ChaCha20-Poly1305 on each packet',
    always: true,
    ...script('dgram', ({ clientKeys: { private64: key } }) => ({ server: { key }, client: { key } })),
  },
]
