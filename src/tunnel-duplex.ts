/**
 * A tunnel as a stream of packets.
 */
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import type { SnapTunError } from './errors.js'
import { checkBoolean, checkInteger, checkObject } from './options.js'
import type { SnapTunnel } from './snap-tunnel.js'

/** Options of `SnapTunnel.toDuplex`. */
export interface DuplexOptions {
  /** Packets that the stream itself holds each way before it pushes back, from 1 on. Default: 64. */
  highWaterMark?: number
  /**
   * Whether the tunnel closes with the stream: when it is destroyed, or when it has ended both ways. The readable side ends
   * with the tunnel, and fails with the error that ended that; the writable side ends with `end()`, of which the server
   * is not told. Default: true.
   */
  closeTunnel?: boolean
}

/** Packets that are pushed in one turn of the event loop, which a fast reader would otherwise hold up. */
const TURN_PACKETS = 256

/** See the module. */
export class TunnelDuplex extends Duplex {
  readonly #tunnel: SnapTunnel
  readonly #closesTunnel: boolean
  readonly #destroyed = new AbortController()
  #reading = false

  constructor(tunnel: SnapTunnel, given: DuplexOptions = {}) {
    const options = checkObject('options', given)
    const highWaterMark = checkInteger('highWaterMark', options.highWaterMark ?? 64, 1, 1_048_576)
    super({ objectMode: true, highWaterMark })
    this.#tunnel = tunnel
    this.#closesTunnel = checkBoolean('closeTunnel', options.closeTunnel ?? true)
  }

  override _read(): void {
    if (this.#reading) return
    this.#reading = true
    void this.#pushAll().catch((error: SnapTunError) => this.#ended(error))
  }

  override _write(packet: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#tunnel.send(packet).then(() => done(), done)
  }

  override _writev(packets: { chunk: Uint8Array }[], done: (error?: Error | null) => void): void {
    this.#tunnel.sendBatch(packets.map(({ chunk }) => chunk)).then(() => done(), done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#destroyed.abort()
    if (this.#closesTunnel) this.#tunnel.close().then(() => done(error))
    else done(error)
  }

  /** Pushes what arrives until the stream has enough. */
  async #pushAll(): Promise<void> {
    const { signal } = this.#destroyed
    for (let pushed = 1; !signal.aborted; pushed++) {
      if (pushed % TURN_PACKETS === 0) await turn()
      if (!this.push(this.#tunnel.tryRecv() ?? (await this.#tunnel.recv({ signal })))) break
    }
    this.#reading = false
  }

  #ended(error: SnapTunError): void {
    if (this.#destroyed.signal.aborted) return
    if (error.code === 'ERR_SNAPTUN_CLOSED') this.push(null)
    else this.destroy(error)
  }
}
