/**
 * What a client tunnel and a server have in common: they get signals, have events, keep the process alive or not, and
 * close once.
 *
 * Events change the state at once but are announced to the user's listeners afterwards and in order, because a listener
 * may call anything, also what drains further events.
 */
import { throwLater } from './errors.js'
import { Signal } from './native.js'
import type { Reactor, ReactorHandle } from './reactor.js'

/** The native object behind a handle. */
export interface NativeHandle<Event> {
  readonly id: number
  takeEvents(): Event[]
  close(): void
}

/** The object that the user sees. */
export interface HandleOwner<Event> {
  /** Takes an event into the state. Runs no code of the user; {@link Handle.announce} is for that. */
  apply(event: Event): void
  /** A ring has packets, after it was found empty. */
  readable(): void
  /** There is room, after a send that was not taken whole. */
  writable(): void
}

/** See the module. */
export class Handle<Event> implements ReactorHandle {
  readonly id: number
  readonly #native: NativeHandle<Event>
  readonly #owner: HandleOwner<Event>
  readonly #reactor: Reactor
  readonly #announcements: (() => void)[] = []
  #announcing = false
  #wantsAlive = true
  #closing = false
  #released = false
  #release!: () => void
  readonly #whenReleased = new Promise<void>((resolve) => {
    this.#release = resolve
  })

  constructor(reactor: Reactor, native: NativeHandle<Event>, owner: HandleOwner<Event>) {
    this.id = native.id
    this.#native = native
    this.#owner = owner
    this.#reactor = reactor
    reactor.add(this)
    reactor.keepAlive(this, true)
  }

  /** Whether `close` was called or native has released everything. */
  get closing(): boolean {
    return this.#closing || this.#released
  }

  signalled(signals: number): void {
    // Events first: a tunnel must be known before its packets, and an end says what is left to read.
    if ((signals & Signal.events) !== 0) this.drain()
    if ((signals & Signal.readable) !== 0) this.#owner.readable()
    if ((signals & Signal.writable) !== 0) this.#owner.writable()
  }

  /** Takes all events there are into the state, then tells the user's listeners. */
  drain(): void {
    const events = this.#native.takeEvents()
    for (const event of events) this.#owner.apply(event)
    if (this.#announcements.length > 0) this.#announceAll()
  }

  /** Queues a call of the user's listeners, to be made when every event at hand is part of the state. */
  announce(call: () => void): void {
    this.#announcements.push(call)
  }

  /** Keeps the process alive while open: the default. */
  ref(): void {
    this.#wantsAlive = true
    this.#update()
  }

  /** Lets the process exit although open. */
  unref(): void {
    this.#wantsAlive = false
    this.#update()
  }

  /**
   * Starts to close, and settles when native has released every socket. Until then the process stays alive even after
   * `unref()`, or whoever awaits this would never hear. Never rejects; harmless when repeated.
   */
  close(): Promise<void> {
    if (!this.closing) {
      this.#closing = true
      this.#update()
      this.#native.close()
    }
    return this.#whenReleased
  }

  /** Called by the owner at the event `closed`, the last one. */
  released(): void {
    this.#released = true
    this.#reactor.remove(this)
    this.#release()
  }

  #update(): void {
    if (!this.#released) this.#reactor.keepAlive(this, this.#wantsAlive || this.#closing)
  }

  #announceAll(): void {
    // A listener that drains again only adds to the list: order is kept, and state was taken in already.
    if (this.#announcing) return
    this.#announcing = true
    for (let call = this.#announcements.shift(); call !== undefined; call = this.#announcements.shift()) {
      try {
        call()
      } catch (error) {
        throwLater(error)
      }
    }
    this.#announcing = false
  }
}
