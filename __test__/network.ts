/**
 * Network namespaces for tests that run as root: each is that of a process, and gone when the process is.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { PeerProcess } from './peer-process.js'

const execute = promisify(execFile)

/** Milliseconds that a command may take. */
const PATIENCE = 5000

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

  /** Has `nft` carry out commands, all or none. */
  async nft(commands: string): Promise<void> {
    const [file, ...args] = [...this.front, 'nft', '-f', '-'] as string[] as [string, ...string[]]
    const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'pipe'], timeout: PATIENCE })
    child.stdin.end(commands)
    const [[code], errors] = await Promise.all([once(child, 'close'), text(child.stderr)])
    if (code !== 0) throw new Error(`nft ended with ${code}: ${errors}`)
  }

  async run(command: readonly string[]): Promise<void> {
    const [file, ...args] = [...this.front, ...command] as [string, ...string[]]
    await execute(file, args, { timeout: PATIENCE })
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

/** Addresses in a network that {@link routed} makes. */
export const ROUTED = {
  IPv4: { client: '10.87.1.2', inside: '10.87.1.1', outside: '10.87.2.1', server: '10.87.2.2', bits: 24 },
  IPv6: { client: 'fd87:1::2', inside: 'fd87:1::1', outside: 'fd87:2::1', server: 'fd87:2::2', bits: 64 },
} as const

/**
 * A client and a server with a router between them. The client's interface is called `uplink`, the server's `downlink`,
 * the router's `inside` and `outside`.
 */
export async function routed(): Promise<{ client: Host; router: Host; server: Host }> {
  const [client, router, server] = [await Host.start(), await Host.start(), await Host.start()]
  const addresses = (end: 'client' | 'inside' | 'outside' | 'server') =>
    Object.values(ROUTED).map(({ [end]: address, bits }) => `${address}/${bits}`)
  await link(
    { host: client, name: 'uplink', addresses: addresses('client') },
    { host: router, name: 'inside', addresses: addresses('inside') },
  )
  await link(
    { host: router, name: 'outside', addresses: addresses('outside') },
    { host: server, name: 'downlink', addresses: addresses('server') },
  )
  await router.set('net/ipv4/ip_forward', '1')
  await router.set('net/ipv6/conf/all/forwarding', '1')
  for (const { inside, outside } of Object.values(ROUTED)) {
    const family = inside.includes(':') ? '-6 ' : ''
    await client.ip(`${family}route add default via ${inside}`)
    await server.ip(`${family}route add default via ${outside}`)
  }
  return { client, router, server }
}
