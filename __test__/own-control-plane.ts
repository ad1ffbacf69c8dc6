/**
 * A control plane as a user would implement one: in this process. It keeps what it is asked.
 */
import {
  type ControlPlane,
  type ControlPlaneRequest,
  type DataPlaneInfo,
  type EndpointOptions,
  generatePrivateKey,
  type RegistrationRequest,
  type RegistrationResult,
  SnapTunEndpoint,
  type SnapTunServer,
} from 'snaptun'
import { onTestFinished } from 'vitest'

/** What a control plane that is asked does: answers, now or later, or throws. */
export interface Answers {
  dataPlane?: (request: ControlPlaneRequest) => DataPlaneInfo | Promise<DataPlaneInfo>
  register?: (request: RegistrationRequest) => RegistrationResult | Promise<RegistrationResult>
}

/** See the module. */
export class OwnControlPlane implements ControlPlane {
  readonly asked: ControlPlaneRequest[] = []
  readonly registered: RegistrationRequest[] = []
  closed = 0
  readonly #answers: Answers

  constructor(answers: Answers) {
    this.#answers = answers
  }

  /** The tokens of the registrations, in their order. */
  get tokens(): string[] {
    return this.registered.map(({ token }) => token)
  }

  getDataPlane(request: ControlPlaneRequest): DataPlaneInfo | Promise<DataPlaneInfo> {
    this.asked.push(request)
    if (this.#answers.dataPlane === undefined) throw Object.assign(new Error('none here'), { transient: false })
    return this.#answers.dataPlane(request)
  }

  registerIdentity(request: RegistrationRequest): RegistrationResult | Promise<RegistrationResult> {
    this.registered.push(request)
    return this.#answers.register?.(request) ?? {}
  }

  close(): void {
    this.closed++
  }
}

/** What a control plane says of a server. */
export function dataPlaneOf(server: SnapTunServer<never>): Required<Pick<DataPlaneInfo, 'address' | 'publicKey'>> {
  return { address: server.address(), publicKey: server.publicKey }
}

/** Delays that a test has the time for. */
export const RETRY = { initialDelay: 20, factor: 1.5, maxDelay: 100, jitter: 5, maxElapsed: 3000 }

/** An endpoint, closed with the test. */
export function endpoint(options: Partial<EndpointOptions>): SnapTunEndpoint {
  const made = new SnapTunEndpoint({ privateKey: generatePrivateKey(), tokenSource: 'token', retry: RETRY, ...options })
  onTestFinished(() => made.close())
  return made
}
