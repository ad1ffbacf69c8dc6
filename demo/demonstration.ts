/**
 * Runs the processes and shows what they report: while they run, and in the end.
 */
import { ClientFigures } from './client-figures.js'
import { type Options, printable } from './options.js'
import { type Outcome, ProcessError, Processes } from './processes.js'
import { byteCount, count, LiveArea, rowLine, tableLines } from './table.js'

/** See the module. */
export class Demonstration {
  readonly #options: Options
  readonly #figures: readonly ClientFigures[]
  readonly #processes: Processes
  /** Where the table is drawn again every second; undefined when that is no terminal. */
  readonly #live = process.stdout.isTTY ? new LiveArea(process.stdout) : undefined
  #drawing: NodeJS.Timeout | undefined
  #interrupted = false

  /** Starts the processes. */
  constructor(options: Options) {
    this.#options = options
    const { payload, window } = options
    this.#introduce()
    this.#processes = new Processes(options, { payload, window }, (client, report) => {
      if (report.type === 'connected') return
      const figures = this.#figures[client] as ClientFigures
      figures.update(report)
      if (report.type === 'progress') this.#show(figures)
    })
    this.#figures = this.#processes.names.map((name) => new ClientFigures(name, payload))
  }

  /** Settles when all processes have ended: with whether all went well. */
  async run(): Promise<boolean> {
    let outcome: Outcome | string
    try {
      outcome = await this.#processes.run()
    } catch (error) {
      if (!(error instanceof ProcessError)) throw error
      outcome = error.message
    }
    return this.#summarize(outcome)
  }

  /** Ends the run early. Harmless when repeated. */
  stop(): void {
    this.#interrupted = true
    this.#processes.stop()
  }

  #introduce(): void {
    const { files, bytes, clients, payload, seconds, window } = this.#options
    const what = files.length === 1 ? printable(files[0] as string) : `${files.length} files`
    print([
      `${clients === 1 ? 'One client sends' : `${clients} clients send`} ${what} (${byteCount(bytes)}) through tunnels to a server,` +
        ` which sends every packet back:`,
      `${count(payload)} bytes a packet, up to ${count(window)} of them in flight for each client, for ${seconds} s.`,
      '',
    ])
  }

  #show(changed: ClientFigures): void {
    if (this.#live === undefined) {
      print([rowLine(changed.latest.elapsed / 1000, changed.recent)])
      return
    }
    // The clients' reports of a second come within a few milliseconds: the table is drawn once for all.
    this.#drawing ??= setTimeout(() => {
      this.#drawing = undefined
      this.#live?.draw(this.#table('recent'))
    }, 100)
  }

  #table(which: 'recent' | 'overall'): string[] {
    const rows = this.#figures.map((figures) => figures[which])
    const elapsed = Math.max(...this.#figures.map(({ latest }) => latest.elapsed)) / 1000
    const all = rows.length > 1 ? [...rows, ClientFigures.total(this.#figures, which)] : rows
    return tableLines(which === 'recent' ? `${elapsed.toFixed(0)} s` : 'in all', all)
  }

  /** Says how it went, and returns whether it went well. */
  #summarize(outcome: Outcome | string): boolean {
    const sum = (name: 'returned' | 'lost' | 'corrupt'): number =>
      this.#figures.reduce((total, { latest }) => total + latest[name], 0)
    const [returned, lost, corrupt] = [sum('returned'), sum('lost'), sum('corrupt')]
    const problems = typeof outcome === 'string' ? [outcome] : this.#problems(outcome, lost)
    if (returned === 0) problems.push('No packet came back.')
    const passed = problems.length === 0 && lost === 0 && corrupt === 0
    const packets = `${count(returned)} packets (${byteCount(returned * this.#options.payload)})`

    clearTimeout(this.#drawing)
    this.#live?.clear()
    if (returned > 0) print([...(this.#live === undefined ? [''] : []), ...this.#table('overall'), ''])
    if (this.#interrupted) print(['Interrupted.'])
    if (passed) print([`All ${packets} came back exactly as they were sent.`])
    else if (returned + lost + corrupt > 0)
      print([`${packets} came back as they were sent; ${count(lost)} were lost, ${count(corrupt)} corrupt.`])
    if (problems.length > 0) process.stderr.write(`${problems.join('\n')}\n`)
    return passed
  }

  /** What the totals don't say. */
  #problems({ echoed, drops }: Outcome, lost: number): string[] {
    const problems: string[] = []
    for (const { name, latest } of this.#figures) {
      const { returned, corrupt, firstCorrupt } = latest
      if (corrupt > 0) problems.push(`The first corrupt packet of ${name}: ${firstCorrupt}.`)
      const sessions = echoed[name] ?? 0
      if (sessions < returned) {
        problems.push(
          `${name} got ${count(returned)} packets, but the server echoed only ${count(sessions)} in its session.`,
        )
      }
    }
    if (lost > 0) {
      const counters = [...drops].flatMap(([name, counted]) =>
        Object.entries(counted).map(([counter, packets]) => `${counter} ${count(packets)} (${name})`),
      )
      const where =
        counters.length > 0 ? counters.join(', ') : 'nothing: a socket buffer of the system may have been full'
      problems.push(`Counters that tell of lost packets: ${where}.`)
    }
    return problems
  }
}

function print(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''))
}
