import { describe, expect, it } from 'vitest'
import { ServerTarget } from '../src/send-target.js'
import { ServerTunnel } from '../src/server-tunnel.js'
import { TunnelTable } from '../src/tunnel-table.js'

const CAPACITY = 64

/** A tunnel that nothing is sent through: the table looks at its number, and at whether it is closed. */
function tunnel(id: number): ServerTunnel {
  const target = new ServerTarget(undefined as never, id, 1, { packets: 0 })
  return ServerTunnel.create({ id, target } as never)
}

describe('a tunnel that has closed', () => {
  it('is forgotten at once when no packet of it was delivered', () => {
    const table = new TunnelTable(1, CAPACITY)
    for (let id = 0; id < 10_000; id++) {
      table.add(tunnel(id))
      table.retire(id, 0, 0)
    }
    expect(table.size).toBe(0)
  })

  it('is known until its ring was seen empty', () => {
    const table = new TunnelTable(2, CAPACITY)
    table.add(tunnel(5))
    table.taken(0, 3)
    table.retire(5, 0, 3)
    expect(table.get(5)?.id).toBe(5)
    table.taken(0, 1)
    table.emptied(1)
    expect(table.get(5)?.id).toBe(5)
    table.emptied(0)
    expect(table.get(5)).toBeUndefined()
  })

  it('is forgotten when as much was read as its ring can hold, though it is never empty', () => {
    const table = new TunnelTable(1, CAPACITY)
    table.add(tunnel(5))
    table.taken(0, 10)
    table.retire(5, 0, 1)
    // Native rounds the capacity up to a power of two, which is less than twice as much.
    let read = 0
    while (table.get(5) !== undefined) {
      table.taken(0, 10)
      read += 10
      expect(read).toBeLessThan(3 * CAPACITY)
    }
    // The last batch of those that count is still in the hands of a reader when the next one is taken.
    expect(read - 10).toBeGreaterThanOrEqual(2 * CAPACITY)
  })

  it('does not keep those that are open from being known', () => {
    const table = new TunnelTable(1, CAPACITY)
    table.add(tunnel(1))
    table.add(tunnel(2))
    table.retire(1, 0, 1)
    table.emptied(0)
    expect(Array.from(table.open(), ({ id }) => id)).toEqual([2])
    expect(table.size).toBe(1)
  })
})
