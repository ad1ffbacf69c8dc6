/**
 * What is known of a client while it runs, as figures to show.
 */
import { Histogram } from './histogram.js'
import type { ClientReport, Progress } from './messages.js'
import type { Row } from './table.js'

const NOTHING: Progress = { elapsed: 0, sent: 0, returned: 0, lost: 0, corrupt: 0 }

/** See the module. */
export class ClientFigures {
  readonly name: string
  /** The last report. */
  latest = NOTHING
  /** The figures of the last second. */
  recent: Row
  readonly #payload: number
  /** Round trips of the last second, and of all seconds. */
  readonly #recentTrips = new Histogram()
  readonly #allTrips = new Histogram()

  constructor(name: string, payload: number) {
    this.name = name
    this.#payload = payload
    this.recent = this.overall
  }

  /** Takes a report in. */
  update({ type, progress, roundTrips }: ClientReport & { type: 'progress' | 'done' }): void {
    const before = this.latest
    this.latest = progress
    if (type === 'progress') {
      this.#recentTrips.clear()
      this.#recentTrips.add(roundTrips)
      this.recent = this.#row(before, this.#recentTrips)
    } else {
      this.#allTrips.clear()
    }
    this.#allTrips.add(roundTrips)
  }

  /** The figures of the whole run. */
  get overall(): Row {
    return this.#row(NOTHING, this.#allTrips)
  }

  #row(before: Progress, roundTrips: Histogram): Row {
    const { elapsed, returned, lost, corrupt } = this.latest
    const seconds = (elapsed - before.elapsed) / 1000
    const packets = seconds > 0 ? (returned - before.returned) / seconds : undefined
    return {
      name: this.name,
      goodput: packets === undefined ? undefined : packets * this.#payload * 8,
      packets,
      median: roundTrips.quantile(0.5),
      p99: roundTrips.quantile(0.99),
      lost,
      corrupt,
    }
  }

  /** The figures of all clients together. */
  static total(clients: readonly ClientFigures[], which: 'recent' | 'overall'): Row {
    const rows = clients.map((client) => client[which])
    const roundTrips = new Histogram()
    for (const client of clients) roundTrips.add((which === 'recent' ? client.#recentTrips : client.#allTrips).counts())
    const sum = (pick: (row: Row) => number | undefined): number =>
      rows.reduce((total, row) => total + (pick(row) ?? 0), 0)
    return {
      name: 'total',
      goodput: sum((row) => row.goodput),
      packets: sum((row) => row.packets),
      median: roundTrips.quantile(0.5),
      p99: roundTrips.quantile(0.99),
      lost: sum((row) => row.lost),
      corrupt: sum((row) => row.corrupt),
    }
  }
}
