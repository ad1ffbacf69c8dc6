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
  #before = NOTHING
  /** Round trips of the last second, and of all seconds. */
  #recent = new Histogram()
  #all = new Histogram()
  readonly #payload: number

  constructor(name: string, payload: number) {
    this.name = name
    this.#payload = payload
  }

  /** Takes a report in. */
  update(report: ClientReport & { type: 'progress' | 'done' }): void {
    this.#before = this.latest
    this.latest = report.progress
    if (report.type === 'progress') {
      this.#recent.clear()
      this.#recent.add(report.roundTrips)
    } else {
      this.#all.clear()
    }
    this.#all.add(report.roundTrips)
  }

  /** The figures of the last second. */
  recent(): Row {
    return this.#row(this.#before, this.#recent)
  }

  /** The figures of the whole run. */
  overall(): Row {
    return this.#row(NOTHING, this.#all)
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
    const rows = clients.map((client) => client[which]())
    const roundTrips = new Histogram()
    for (const client of clients) roundTrips.add((which === 'recent' ? client.#recent : client.#all).counts())
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
