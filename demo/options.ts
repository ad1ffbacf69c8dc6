/**
 * The demonstration's arguments.
 */
import { parseArgs } from 'node:util'
import { checkFile, MOST_CONTENT } from './content.js'
import { windowFor } from './window.js'

/** What the demonstration is to do. */
export interface Options {
  readonly files: readonly string[]
  /** Bytes of all files together. */
  readonly bytes: number
  readonly clients: number
  readonly payload: number
  readonly seconds: number
  /** Packets that each client may have in flight. */
  readonly window: number
}

/** A bad argument; the message names it. */
export class UsageError extends Error {}

const CLIENTS = { least: 1, most: 64, standard: 3 }
/** The header and as much content; the largest UDP datagram over IPv4 less the tunnel's overhead. */
const PAYLOAD = { least: 16, most: 65_475, standard: 1400 }
const SECONDS = { least: 0.1, most: 86_400, standard: 10 }

export const HELP = `Usage: npm start -- [options] [file...]

Sends files through encrypted tunnels, and compares what comes back, byte for byte.

A server process and several client processes are started on this machine, with fresh keys. Each client connects to
the server over UDP on the loopback interface. The server lets pass only the clients that it knows, and sends every
packet back to where it came from. Each client holds its packets against the file: each must come back, and unchanged.

Files are sent over and over until the time is over. With more files than clients each client sends several, one
after the other; with fewer a file is sent by several clients. Without any, Node's own executable is sent.

Options:
  --clients <n>      client processes, ${CLIENTS.least} to ${CLIENTS.most} (default: ${CLIENTS.standard})
  --payload <bytes>  bytes a packet, ${PAYLOAD.least} to ${PAYLOAD.most} (default: ${PAYLOAD.standard}); 8 of them are a sequence number and the client
  --seconds <s>      for how long to send, ${SECONDS.least} to ${SECONDS.most} (default: ${SECONDS.standard})
  --help             this text

Every second, for each client and in all:
  goodput            payload that came back, in bits a second: it went through the tunnel twice
  packets/s          packets that came back
  rtt median, p99    round trips of one packet in each call of sendBatch, from there to where its echo is read; most of
                     it is waiting behind the other packets in flight, of which there is always a window
  lost               packets that did not come back within 2 s
  corrupt            packets that came back changed, twice, or to the wrong client

Exit code: 0 when every packet came back unchanged, also after Ctrl-C; 1 when one was lost or corrupt, when nothing came
back, or when a process failed; 2 for a bad argument.

Examples:
  npm start -- --clients 1
  npm start -- --payload 64 --seconds 5
  npm start -- --clients 2 --payload 9000 video.mp4 archive.tar
`

function readNumber(
  name: string,
  text: string | undefined,
  { least, most, standard }: typeof CLIENTS,
  whole = true,
): number {
  if (text === undefined) return standard
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
    throw new UsageError(
      `--${name} must be a ${whole ? 'whole ' : ''}number from ${least} to ${most}, not ${printable(text)}`,
    )
  }
  return value
}

/** Something that the user typed, as it can be shown in one line. */
export function printable(text: string): string {
  return `'${text.replace(/\p{Cc}/gu, '?')}'`
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        clients: { type: 'string' },
        payload: { type: 'string' },
        seconds: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    // The first sentence names the argument; what follows is about dashes.
    throw new UsageError((error as Error).message.replace(/(\.\s|\n).*/s, ''))
  }
}

/** Reads the arguments; undefined when help is asked for. Throws {@link UsageError}. */
export function readOptions(args: readonly string[]): Options | undefined {
  const { values, positionals } = parse(args)
  if (values.help === true) return undefined
  const clients = readNumber('clients', values.clients, CLIENTS)
  const payload = readNumber('payload', values.payload, PAYLOAD)
  const seconds = readNumber('seconds', values.seconds, SECONDS, false)
  const window = windowFor(payload, clients)
  if (window === 0) {
    throw new UsageError(
      `--clients ${clients} with --payload ${payload} is more than the system's socket buffers hold (on Linux net.core.rmem_max)`,
    )
  }
  const files = positionals.length > 0 ? positionals : [process.execPath]
  const sizes = new Map<string, number>()
  for (const file of files) {
    const size = checkFile(file)
    if (typeof size === 'string') throw new UsageError(`the file ${printable(file)} ${size}`)
    sizes.set(file, size)
  }
  const sum = (some: readonly string[]): number => some.reduce((bytes, file) => bytes + (sizes.get(file) ?? 0), 0)
  for (let client = 0; client < clients; client++) {
    if (sum(filesOf(client, files, clients)) > MOST_CONTENT) {
      throw new UsageError(
        `a client keeps its files in memory, and those of client ${client + 1} are larger than 1 GiB`,
      )
    }
  }
  return { files, bytes: sum(files), clients, payload, seconds, window }
}

/** The files that a client sends; clients are numbered from 0. */
export function filesOf(client: number, files: readonly string[], clients: number): readonly string[] {
  if (files.length <= clients) return [files[client % files.length] as string]
  return files.filter((_, i) => i % clients === client)
}
