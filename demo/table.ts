/**
 * How the figures are shown: as a table, or in lines.
 */
import type { WriteStream } from 'node:tty'

/** The figures of a client, or of all. Undefined is shown as a dash. */
export interface Row {
  readonly name: string
  /** Bits a second. */
  readonly goodput: number | undefined
  /** Packets a second. */
  readonly packets: number | undefined
  /** Microseconds. */
  readonly median: number | undefined
  readonly p99: number | undefined
  readonly lost: number
  readonly corrupt: number
}

/** Three significant digits and a unit that suits. */
function scaled(value: number | undefined, units: readonly (readonly [number, string])[]): string {
  if (value === undefined) return '–'
  const [size, unit] = units.find(([size]) => value >= size * 0.9995) ?? (units.at(-1) as readonly [number, string])
  const amount = value / size
  return `${amount.toFixed(amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2)} ${unit}`
}

function bitRate(value: number | undefined): string {
  return scaled(value, [
    [1e9, 'Gbit/s'],
    [1e6, 'Mbit/s'],
    [1e3, 'kbit/s'],
  ])
}

function duration(microseconds: number | undefined): string {
  return scaled(microseconds, [
    [1e6, 's'],
    [1e3, 'ms'],
    [1, 'µs'],
  ])
}

/** A number of bytes. */
export function byteCount(bytes: number): string {
  return scaled(bytes, [
    [1e12, 'TB'],
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
    [1, 'B'],
  ]).replace(/\.0+ B$/, ' B')
}

/** A whole number, with separators. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

function cells({ name, goodput, packets, median, p99, lost, corrupt }: Row): string[] {
  const rate = packets === undefined ? '–' : count(packets)
  return [name, bitRate(goodput), rate, duration(median), duration(p99), count(lost), count(corrupt)]
}

const HEAD = ['goodput', 'packets/s', 'rtt median', 'rtt p99', 'lost', 'corrupt']
const WIDTHS = [10, 13, 12, 12, 11, 9, 9]

/** The rows as a table, a string a line; `corner` stands above the names. */
export function tableLines(corner: string, rows: readonly Row[]): string[] {
  return [[corner, ...HEAD], ...rows.map(cells)].map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(WIDTHS[i] as number) : cell.padStart(WIDTHS[i] as number))).join(''),
  )
}

/** One row in a line of its own, which can be read without a head. */
export function rowLine(seconds: number, row: Row): string {
  const [name, goodput, packets, median, p99, lost, corrupt] = cells(row)
  const time = `${seconds.toFixed(0)} s`.padStart(6)
  return `${time}  ${name}  goodput ${goodput}  ${packets} packets/s  rtt median ${median}, p99 ${p99}  lost ${lost}  corrupt ${corrupt}`
}

/** Lines on a terminal that can be drawn again over themselves. */
export class LiveArea {
  readonly #terminal: WriteStream
  #height = 0

  constructor(terminal: WriteStream) {
    this.#terminal = terminal
  }

  /** Draws the lines over those drawn before. */
  draw(lines: readonly string[]): void {
    // What is longer or wider than the terminal would scroll or wrap, and could not be drawn over.
    const { rows, columns } = this.#terminal
    const most = Math.max(rows - 1, 3)
    const fitting = lines.length <= most ? lines : [...lines.slice(0, most - 2), '…', lines.at(-1) as string]
    const text = fitting.map((line) => `${line.slice(0, columns - 1)}\n`).join('')
    this.clear()
    this.#terminal.write(text)
    this.#height = fitting.length
  }

  /** Removes what was drawn, and the `^C` that a terminal writes when it is typed. */
  clear(): void {
    const up = this.#height === 0 ? '' : `\x1b[${this.#height}A`
    this.#terminal.write(`\r${up}\x1b[J`)
    this.#height = 0
  }
}
