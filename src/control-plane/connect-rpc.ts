/**
 * One call of Connect RPC (https://connectrpc.com/docs/protocol, the part about unary calls): a POST over HTTP/1.1.
 *
 * Head and body of a request go out in one piece. A control plane may refuse by what the head says alone, and close:
 * then a body on its way by itself breaks the connection, and the refusal is never read. (Of 300 refused registrations
 * 88 were lost like that with `@connectrpc/connect-node` 2.1.2, which sends them apart.)
 */
import { once } from 'node:events'
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { within } from '../abort.js'
import { SnapTunError } from '../errors.js'
import { type ControlPlaneErrorCode, controlPlaneError, quote } from './errors.js'

/** Bytes that an answer may have: many times what a control plane has to say. */
const MAX_ANSWER = 16_384

const PROTO = 'application/proto'

/** What the codes of Connect mean here: to be tried again, to be given up, or a matter of the token. */
const CODES: ReadonlyMap<unknown, ControlPlaneErrorCode> = new Map([
  ['canceled', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['unknown', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['invalid_argument', 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ['deadline_exceeded', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['not_found', 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ['already_exists', 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ['permission_denied', 'ERR_SNAPTUN_TOKEN_REFUSED'],
  ['resource_exhausted', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['failed_precondition', 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ['aborted', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['out_of_range', 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ['unimplemented', 'ERR_SNAPTUN_CONTROL_PLANE_REFUSED'],
  ['internal', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['unavailable', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['data_loss', 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'],
  ['unauthenticated', 'ERR_SNAPTUN_TOKEN_REFUSED'],
])

/** A call, and how long it may take. */
export interface Call {
  /** Of the control plane. */
  readonly url: string
  /** Of the method: service and name. */
  readonly method: string
  /** The request's message, encoded. */
  readonly message: Uint8Array
  readonly token: string
  readonly agent: Agent
  /** In milliseconds. */
  readonly timeout: number
  readonly signal: AbortSignal
}

/** What an HTTP server answered. */
interface Answer {
  readonly status: number
  readonly contentType: string
  readonly body: Buffer
}

/**
 * Makes a call, and returns the answer's message, encoded. Rejects with coded errors, or with the reason of the signal;
 * the connection is given up then.
 */
export async function callUnary(call: Call): Promise<Uint8Array> {
  const { url, timeout } = call
  const late = (): SnapTunError =>
    controlPlaneError('ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE', url, `no answer within ${timeout} ms`)
  const answer = await within(timeout, call.signal, late, (signal) => post(call, signal))
  if (answer.status !== 200) throw refusal(call, answer)
  if (answer.contentType !== PROTO) throw unusable(url, `its type is '${quote(answer.contentType, call.token)}'`)
  return answer.body
}

async function post({ url, method, message, token, agent, timeout }: Call, signal: AbortSignal): Promise<Answer> {
  try {
    const request = (url.startsWith('https:') ? httpsRequest : httpRequest)(`${url}/${method}`, {
      method: 'POST',
      agent,
      signal,
      headers: {
        authorization: `Bearer ${token}`,
        'connect-protocol-version': '1',
        'connect-timeout-ms': Math.ceil(timeout),
        'content-length': message.length,
        'content-type': PROTO,
      },
    })
    // Before the answer it is `once` that hears of an error, and after it who reads the body.
    request.on('error', () => undefined)
    request.end(message)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const [contentType = ''] = (response.headers['content-type'] ?? '').split(';')
    const body = await readBody(response, url)
    return { status: response.statusCode as number, contentType: contentType.trim().toLowerCase(), body }
  } catch (error) {
    throw error instanceof SnapTunError ? error : broken(url, error as Error)
  }
}

async function readBody(response: IncomingMessage, url: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    // To leave the loop is to cut the connection.
    if (size > MAX_ANSWER) throw unusable(url, `it has more than ${MAX_ANSWER} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The error of an answer that is none of success. */
function refusal({ url, token }: Call, { status, contentType, body }: Answer): SnapTunError {
  const said = contentType === 'application/json' ? readError(body) : undefined
  const code = CODES.get(said?.code) ?? codeOfStatus(status)
  // What is no error of Connect may be a page of a proxy; what has no type at all is the control plane's own.
  const words = said?.message ?? (/^(text\/plain)?$/.test(contentType) ? body.toString() : '')
  return controlPlaneError(code, url, `${quote(words, token)} (HTTP ${status})`)
}

/** An error of Connect: JSON with a code, and mostly with words. */
function readError(body: Buffer): { code: unknown; message: string } | undefined {
  try {
    const { code, message } = JSON.parse(body.toString())
    return { code, message: typeof message === 'string' ? message : String(code) }
  } catch {
    // Then it is not Connect's, and its status has to do.
    return undefined
  }
}

function codeOfStatus(status: number): ControlPlaneErrorCode {
  if (status === 401 || status === 403) return 'ERR_SNAPTUN_TOKEN_REFUSED'
  // Request Timeout, Too Many Requests, and servers that fail.
  if (status === 408 || status === 429 || status >= 500) return 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE'
  return 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER'
}

function unusable(url: string, words: string): SnapTunError {
  return controlPlaneError('ERR_SNAPTUN_CONTROL_PLANE_ANSWER', url, words)
}

/** The error of a connection that broke, or never came about. */
function broken(url: string, error: NodeJS.ErrnoException): SnapTunError {
  const code = passes(error) ? 'ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE' : 'ERR_SNAPTUN_CONTROL_PLANE_ANSWER'
  return controlPlaneError(code, url, error.message || String(error.code), error)
}

/**
 * Errors of the network pass; of TLS and of HTTP's syntax they stay. Where several addresses were tried there are
 * several.
 */
function passes(error: NodeJS.ErrnoException): boolean {
  if (error instanceof AggregateError) return error.errors.some(passes)
  // Node says this of TLS, although it names a system call.
  if (error.code === 'EPROTO') return false
  return error.syscall !== undefined || error.code === 'ECONNRESET'
}
