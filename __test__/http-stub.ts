/**
 * HTTP servers that answer what no control plane would, and so need no control plane.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

/** A request, with all of its body. */
export interface Received {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

/** A server that runs until the test ends. */
export interface HttpStub {
  readonly url: string
  readonly requests: Received[]
  /** Connections that it holds. */
  connections(): Promise<number>
}

/** Starts a server; with `tls` over TLS. */
export async function serve(
  answer: (response: ServerResponse, request: Received) => void,
  tls?: ServerOptions,
): Promise<HttpStub> {
  const requests: Received[] = []
  const listener: RequestListener = async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const received = { path: request.url as string, headers: request.headers, body: Buffer.concat(chunks) }
    requests.push(received)
    answer(response, received)
  }
  const server: Server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const connections = (): Promise<number> =>
    new Promise((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count))))
  return { url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`, requests, connections }
}

/** One field of a Protobuf message: text or bytes. */
export function field(number: number, value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value)
  if (bytes.length > 127) throw new RangeError('its length takes more than one byte')
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes])
}

/** Answers with a Protobuf message. */
export function proto(...fields: Buffer[]): (response: ServerResponse) => void {
  return (response) => response.setHeader('content-type', 'application/proto').end(Buffer.concat(fields))
}

/** Answers with an error of Connect. */
export function connectError(status: number, code: string, message = ''): (response: ServerResponse) => void {
  return (response) => {
    response.statusCode = status
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ code, message }))
  }
}

/** Answers with a status, and text. */
export function plain(
  status: number,
  text = '',
  headers: Record<string, string> = {},
): (response: ServerResponse) => void {
  return (response) => response.writeHead(status, { 'content-type': 'text/plain', ...headers }).end(text)
}
