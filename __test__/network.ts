/**
 * Network namespaces for tests that run as root: each is that of a process, and gone when the process is.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { PeerProcess } from './peer-process.js'

const execute = promisify(execFile)

/** Whether tests may make networks of their own; .ci/run says so. */
export const privileged = process.env.SNAPTUN_PRIVILEGED === '1'

/** A process in a network namespace of its own. */
export class Host {
  readonly peer: PeerProcess
  /** The command in front of another that has it run in this namespace. */
  readonly front: readonly string[]

  private constructor(peer: PeerProcess) {
    this.peer = peer
    this.front = ['nsenter', `--net=/proc/${peer.pid}/ns/net`]
  }

  static async start(): Promise<Host> {
    const host = new Host(await PeerProcess.start(['unshare', '--net']))
    await host.ip('link set lo up')
    return host
  }

  /** Runs `ip` in it. */
  async ip(command: string): Promise<void> {
    await this.run(['ip', ...command.split(' ')])
  }

  /** Sets what is under /proc/sys. */
  async set(name: string, value: string): Promise<void> {
    await this.run(['sh', '-c', `echo ${value} > /proc/sys/${name}`])
  }

  async run(command: readonly string[]): Promise<void> {
    const [file, ...args] = [...this.front, ...command] as [string, ...string[]]
    await execute(file, args, { timeout: 5000 })
  }
}

/** An end of a link: a host, what the interface is called there, and its addresses. */
export interface End {
  readonly host: Host
  readonly name: string
  readonly addresses: readonly string[]
}

/** Connects two hosts. */
export async function link(one: End, other: End): Promise<void> {
  // From inside the first namespace, so that a name that is taken outside does not matter.
  await one.host.ip(`link add ${one.name} type veth peer name ${other.name} netns ${other.host.peer.pid}`)
  for (const { host, name, addresses } of [one, other]) {
    for (const address of addresses) {
      // Nobody else is there who could have the address, so that it can be used at once.
      await host.ip(`addr add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`)
    }
    await host.ip(`link set ${name} up`)
  }
}
