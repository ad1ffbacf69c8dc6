/**
 * What the demonstration's processes tell each other. Everything goes over IPC, the keys too: a command line can be read
 * by everybody on the machine.
 */

/** What the clients exchange with the server, and how much of it at a time. */
export interface Traffic {
  /** Bytes a packet. */
  readonly payload: number
  /** Packets that a client has in flight at most. */
  readonly window: number
}

/** A client, as the server must know it. */
export interface Guest {
  readonly name: string
  /** Public key. */
  readonly identity: string
}

/** What the server is told. */
export type ServerOrder =
  | {
      readonly type: 'listen'
      readonly privateKey: string
      readonly guests: readonly Guest[]
      readonly traffic: Traffic
    }
  | { readonly type: 'stop' }

/** What a client is told. `go` comes when all of them are connected, so that they share the machine from the start. */
export type ClientOrder =
  | {
      readonly type: 'connect'
      /** Written into each packet. */
      readonly number: number
      readonly privateKey: string
      readonly server: { readonly address: string; readonly port: number }
      readonly serverPublicKey: string
      readonly files: readonly string[]
      readonly traffic: Traffic
    }
  | { readonly type: 'go'; readonly seconds: number }
  | { readonly type: 'stop' }

/** Counters of drops that are not zero, by their names in `stats()`. */
export type Drops = Readonly<Record<string, number>>

/** What the server says. */
export type ServerReport =
  | { readonly type: 'listening'; readonly port: number }
  /** Every second: packets that were echoed, by the name in the session that they came with. */
  | { readonly type: 'progress'; readonly echoed: Readonly<Record<string, number>> }
  | { readonly type: 'done'; readonly echoed: Readonly<Record<string, number>>; readonly drops: Drops }

/** What a client counted since `go`. */
export interface Progress {
  /** Milliseconds since `go`; at the end, until the last packet came back. */
  readonly elapsed: number
  readonly sent: number
  /** Packets that came back as they were sent. */
  readonly returned: number
  readonly lost: number
  readonly corrupt: number
  /** What was wrong with the first corrupt packet. */
  readonly firstCorrupt?: string | undefined
}

/** What a client says. */
export type ClientReport =
  | { readonly type: 'connected' }
  /** Every second, with the round trips of that second; see `Histogram`. */
  | { readonly type: 'progress'; readonly progress: Progress; readonly roundTrips: readonly number[] }
  /** Nothing is in flight any more. With all round trips. */
  | {
      readonly type: 'done'
      readonly progress: Progress
      readonly roundTrips: readonly number[]
      readonly drops: Drops
    }

/** The last message of a process that can't go on. */
export interface Failure {
  readonly type: 'failed'
  readonly message: string
}

/** Picks the drops out of what `stats()` returned. */
export function dropsIn(stats: object): Drops {
  return Object.fromEntries(
    Object.entries(stats).filter(([name, value]) => /^(dropped|lateSends|socketErrors)/.test(name) && value > 0),
  )
}
