/**
 * A socket in a process of its own, in a host's network namespace (fixtures/udp-peer.mjs). It ends with the test.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { DatagramTarget, SocketAddress, UdpBindOptions, UdpStats } from 'snaptun'
import { onTestFinished } from 'vitest'
import type { Host } from './network.js'

/** What it does, and what comes of it. */
interface Tasks {
  bind: [options: UdpBindOptions, result: SocketAddress]
  send: [options: { to: DatagramTarget; size: number; count: number }, result: { took: number; stats: UdpStats }]
  fill: [options: { to: DatagramTarget; size: number; most: number }, result: { taken: number; queued: number }]
  sendOne: [options: { to: DatagramTarget; size: number }, result: { code: string; cause: string } | null]
  look: [
    options: undefined,
    result: { stats: UdpStats; errors: { code: string; cause: string; dropped: number }[]; sizes: number[] },
  ]
  take: [options: undefined, result: number[]]
}

/** See the module. */
export class UdpPeer {
  readonly #process: ChildProcess
  #next = 0

  private constructor(child: ChildProcess) {
    this.#process = child
  }

  static async start(host: Host): Promise<UdpPeer> {
    const [file, ...front] = host.front as [string, ...string[]]
    const command = [...front, process.execPath, path.join(__dirname, 'fixtures/udp-peer.mjs')]
    const child = spawn(file, command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    await once(child, 'message')
    return new UdpPeer(child)
  }

  /** Has it do something; rejects with what went wrong there. */
  async call<Name extends keyof Tasks>(task: Name, options?: Tasks[Name][0]): Promise<Tasks[Name][1]> {
    const id = this.#next++
    this.#process.send({ id, task, options })
    for (;;) {
      const [answer] = await once(this.#process, 'message')
      if (answer.id !== id) continue
      if (answer.error !== undefined) throw Object.assign(new Error(answer.error.message), answer.error)
      return answer.value
    }
  }
}
