/**
 * A client process: connects, and exchanges packets with the server until it is told to stop or the time is over.
 */
import { SnapTunnel } from 'snaptun'
import { readContent } from './content.js'
import { Exchange, HEADER } from './exchange.js'
import { type ClientOrder, type ClientReport, dropsIn } from './messages.js'
import { Parent } from './parent.js'
import { queueFor, SOCKET_BUFFER } from './window.js'

/** Aborts when the parent wants an end. */
const stopping = new AbortController()
let tunnel: SnapTunnel | undefined
let exchange: Exchange | undefined
let running = false

const parent = new Parent<ClientOrder, ClientReport>(async (order) => {
  switch (order.type) {
    case 'connect':
      return connect(order)
    case 'go':
      return run(order.seconds)
    case 'stop':
      return stop()
  }
})

async function connect({ number, files, traffic, ...order }: ClientOrder & { type: 'connect' }): Promise<void> {
  const content = readContent(files, traffic.payload - HEADER)
  try {
    tunnel = await SnapTunnel.connect({
      privateKey: order.privateKey,
      server: order.server,
      serverPublicKey: order.serverPublicKey,
      receiveQueue: queueFor(traffic.window, traffic.payload),
      socketBufferSize: SOCKET_BUFFER,
      signal: stopping.signal,
    })
  } catch (error) {
    if (stopping.signal.aborted) return
    throw error
  }
  if (traffic.payload > tunnel.maxPacketSize) {
    throw new Error(
      `--payload is ${traffic.payload}, and the tunnel takes packets of ${tunnel.maxPacketSize} bytes at most`,
    )
  }
  exchange = new Exchange(tunnel, content, number, traffic)
  parent.report({ type: 'connected' })
}

async function run(seconds: number): Promise<void> {
  if (tunnel === undefined || exchange === undefined || stopping.signal.aborted) return
  running = true
  const current = exchange
  let reported = 0
  const report = (): void => {
    const progress = current.progress()
    reported = progress.elapsed
    parent.report({ type: 'progress', progress, roundTrips: current.takeRoundTrips() })
  }
  const reporting = setInterval(report, 1000)
  const end = setTimeout(() => current.stop(), seconds * 1000)
  await current.run()
  clearInterval(reporting)
  clearTimeout(end)
  // The end may come just before the report of the last second.
  if (current.progress().elapsed - reported > 900) report()
  await finish(tunnel, current)
}

async function finish(tunnel: SnapTunnel, exchange: Exchange): Promise<void> {
  const drops = dropsIn(tunnel.stats())
  await tunnel.close()
  exchange.takeRoundTrips()
  parent.leave({ type: 'done', progress: exchange.progress(), roundTrips: exchange.allRoundTrips(), drops })
}

async function stop(): Promise<void> {
  stopping.abort()
  exchange?.stop()
  if (running) return
  await tunnel?.close()
  parent.leave({
    type: 'done',
    progress: { elapsed: 0, sent: 0, returned: 0, lost: 0, corrupt: 0 },
    roundTrips: [],
    drops: {},
  })
}
