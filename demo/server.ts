/**
 * The server process: lets the demonstration's clients pass and nobody else, and sends each packet back.
 */
import { SnapTunServer } from 'snaptun'
import { dropsIn, type ServerOrder, type ServerReport } from './messages.js'
import { Parent } from './parent.js'
import { queueFor, SOCKET_BUFFER } from './window.js'

/** What the server knows of a client that it lets pass. */
interface Session {
  readonly name: string
  /** Packets that it was sent back. */
  echoed: number
}

const sessions = new Map<string, Session>()
let server: SnapTunServer<Session> | undefined
let reporting: NodeJS.Timeout | undefined

const parent = new Parent<ServerOrder, ServerReport>(async (order) => {
  if (order.type === 'listen') await listen(order)
  else await stop()
})

async function listen({ privateKey, guests, traffic }: ServerOrder & { type: 'listen' }): Promise<void> {
  for (const { name, identity } of guests) sessions.set(identity, { name, echoed: 0 })
  server = await SnapTunServer.listen<Session>({
    privateKey,
    address: '127.0.0.1',
    authorize: ({ identity }) => {
      const session = sessions.get(identity)
      return session === undefined ? null : { session }
    },
    receiveQueue: queueFor(traffic.window * guests.length, traffic.payload),
    socketBufferSize: SOCKET_BUFFER,
  })
  parent.report({ type: 'listening', port: server.address().port })
  reporting = setInterval(() => parent.report({ type: 'progress', echoed: echoed() }), 1000)
  await echo(server)
}

async function echo(server: SnapTunServer<Session>): Promise<void> {
  for await (const batch of server.batches()) {
    for (let i = 0; i < batch.length; i++) batch.tunnel(i).session.echoed++
    await server.sendBatch(batch)
  }
}

async function stop(): Promise<void> {
  clearInterval(reporting)
  const drops = server === undefined ? {} : dropsIn(server.stats())
  await server?.close()
  parent.leave({ type: 'done', echoed: echoed(), drops })
}

function echoed(): Record<string, number> {
  return Object.fromEntries([...sessions.values()].map(({ name, echoed }) => [name, echoed]))
}
