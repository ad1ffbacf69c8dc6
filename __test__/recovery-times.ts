/**
 * When a tunnel notices that its server is silent, and what a test may add to that. In milliseconds.
 */

/** `livenessTimeout` of most tests: after so much silence the server is asked for a sign of life. */
export const LIVENESS = 1000
/** How long it may take to answer: as long as it may be silent, and 5 s at most. */
export const PROBE = LIVENESS
/** Timers are looked at this often. */
export const TICK = 250
/** From the last datagram of the server until the tunnel reconnects, at the latest. */
export const NOTICE = LIVENESS + TICK + PROBE + TICK
/** What two cores that other tests use as well may take longer. */
export const MARGIN = 2500
