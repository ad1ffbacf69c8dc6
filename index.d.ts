// Generated from src/ by scripts/types.mjs; not to be edited.
import { KeyObject } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { Agent as HttpAgent } from 'node:http';
import { Duplex } from 'node:stream';

/**
 * The first attempt is made at once, the second after `initialDelay`; the delay then grows by `factor` from attempt to
 * attempt, to `maxDelay`. A success starts it over. Durations in milliseconds.
 */
export interface ReconnectOptions {
	/** From the first attempt to the second. Default: 5000. */
	initialDelay?: number;
	/** The longest delay, without jitter; no less than `initialDelay`. Default: 180000, or `initialDelay` if that is more. */
	maxDelay?: number;
	/** What the delay grows by, 1 to 100. Default: 1.3. */
	factor?: number;
	/** At most so much is added to each delay, at random, so that clients don't come back all at once. Default: 500. */
	jitter?: number;
	/** Gives up after so long without a server: closes with `ERR_SNAPTUN_RECONNECT_TIMEOUT`. Default: Infinity. */
	maxElapsed?: number;
}
/**
 * Why a tunnel reconnects. `'expired'`: the session ended, and the server did not answer in time for the next one.
 * `'silent'`: the server said nothing for `livenessTimeout`, and did not answer when asked. `'unanswered'`: the attempt
 * before this one was not answered.
 */
export type ReconnectCause = "expired" | "silent" | "unanswered";
/**
 * What became of packets that were sent: as the user is told, and as native counts it in one number a call.
 */
/**
 * What became of a packet. `'sent'`: it is encrypted and on its way to the kernel. `'queued'`: there is no session now, and
 * it waits for one, in its order. `'dropped'`: there is no session, and no room for more to wait; or the tunnel of a server
 * has closed. What is dropped is counted.
 */
export type SendOutcome = "sent" | "queued" | "dropped";
/** What became of the packets of a batch, see {@link SendOutcome}; together all of them. */
export interface BatchOutcome {
	/** Packets that are on their way. */
	readonly sent: number;
	/** Packets that wait for a session. */
	readonly queued: number;
	/** Packets that were dropped, and counted. */
	readonly dropped: number;
}
/** An IP address and a UDP port, as `dgram` has them. */
export interface SocketAddress {
	/** IP address, without brackets. */
	readonly address: string;
	/** UDP port. */
	readonly port: number;
	/** Which IP the address belongs to. */
	readonly family: "IPv4" | "IPv6";
}
/**
 * An address as options take it: `'192.0.2.1:51820'`, `'[2001:db8::1]:51820'`, `'host.example:51820'`, or an object.
 * Host names are looked up once, with Node's `dns.lookup`.
 */
export type AddressInput = string | {
	readonly address: string;
	readonly port: number;
};
/**
 * The one class of errors that this package throws, and its codes.
 *
 * An error never contains key bytes, nor the content of packets.
 */
/** The codes of {@link SnapTunError}. */
export type SnapTunErrorCode = 
/** An option or argument has the wrong type or lies outside its range; the message names it. */
"ERR_SNAPTUN_INVALID_OPTION"
/** A key is not 32 bytes, not base64, all zero, or a KeyObject of another kind; the message names the option. */
 | "ERR_SNAPTUN_INVALID_KEY"
/** An address can't be understood, or has a port that it must not have; the message names the option. */
 | "ERR_SNAPTUN_INVALID_ADDRESS"
/** A host name has no address, or the name service didn't answer; `cause` is Node's error. */
 | "ERR_SNAPTUN_LOOKUP"
/** What was to be sent is not a `Uint8Array`, or not a batch that can be sent there. */
 | "ERR_SNAPTUN_INVALID_PACKET"
/** A packet of no bytes: on the wire that is a keepalive, so it can't be sent. */
 | "ERR_SNAPTUN_PACKET_EMPTY"
/** A packet is larger than `maxPacketSize`. */
 | "ERR_SNAPTUN_PACKET_TOO_LARGE"
/** The tunnel or server was closed, before the call or while it waited. */
 | "ERR_SNAPTUN_CLOSED"
/** No handshake within `connectTimeout`: nobody answered, or the server refuses this identity. */
 | "ERR_SNAPTUN_CONNECT_TIMEOUT"
/** The session ended, the server did not answer, and the tunnel was told not to reconnect. */
 | "ERR_SNAPTUN_SESSION_EXPIRED"
/** The server was lost, and could not be reached again within `reconnect.maxElapsed`. */
 | "ERR_SNAPTUN_RECONNECT_TIMEOUT"
/** The first handshake is not done yet, and what was asked for comes with it. */
 | "ERR_SNAPTUN_NOT_READY"
/** The server sees this client at another address than before, and the tunnel closed for it. */
 | "ERR_SNAPTUN_ADDRESS_CHANGED"
/** Another socket has the local address and port. */
 | "ERR_SNAPTUN_ADDRESS_IN_USE"
/** The local address belongs to no interface of this machine. */
 | "ERR_SNAPTUN_ADDRESS_UNAVAILABLE"
/** The operating system refuses the socket or port to this user. */
 | "ERR_SNAPTUN_PERMISSION"
/** Another error of the operating system; the message has its words. */
 | "ERR_SNAPTUN_IO"
/** Two readers at once, where there can be only one. */
 | "ERR_SNAPTUN_BUSY"
/** More sends wait for room than are allowed to: the caller doesn't await what it sends. */
 | "ERR_SNAPTUN_TOO_MANY_SENDS"
/** A batch was used after the next turn of its iterator, when its memory held other packets already. */
 | "ERR_SNAPTUN_BATCH_RELEASED"
/** The tunnel does not belong to this server. */
 | "ERR_SNAPTUN_UNKNOWN_TUNNEL"
/** The socket is connected, so that there can be no other target. */
 | "ERR_SNAPTUN_CONNECTED"
/** The socket is not connected, so that there must be a target. */
 | "ERR_SNAPTUN_NOT_CONNECTED"
/** Nobody listens at the remote address: its host said so. */
 | "ERR_SNAPTUN_REFUSED"
/** There is no way to the address: no route, or the interface is down. */
 | "ERR_SNAPTUN_UNREACHABLE"
/** `authorize` did not settle within `authorizationTimeout`. */
 | "ERR_SNAPTUN_AUTHORIZATION_TIMEOUT"
/** The token source failed, `cause` is its error; it is asked again. */
 | "ERR_SNAPTUN_TOKEN_UNAVAILABLE"
/** There is no token: its source ended or failed for good, `cause` is its error, or it gave what can't be one. */
 | "ERR_SNAPTUN_TOKEN_INVALID"
/** The control plane refuses the token: expired, or not genuine, or not for this. */
 | "ERR_SNAPTUN_TOKEN_REFUSED"
/** The control plane can't be reached, is overloaded, fails, or doesn't answer in time; `cause` is Node's error, if any. */
 | "ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE"
/** The control plane refuses, for another reason than the token; the message has its words. */
 | "ERR_SNAPTUN_CONTROL_PLANE_REFUSED"
/** What answers is no control plane, or its answer can't be used; the message says what is wrong with it. */
 | "ERR_SNAPTUN_CONTROL_PLANE_ANSWER"
/** The native part is missing or can't be loaded; the message says which package and what to type. */
 | "ERR_SNAPTUN_ADDON"
/** A bug of this package. */
 | "ERR_SNAPTUN_INTERNAL";
/** Every error of this package. What an aborted call rejects with is the reason of its signal instead. */
export declare class SnapTunError extends Error {
	readonly name = "SnapTunError";
	/** What went wrong, for programs. */
	readonly code: SnapTunErrorCode;
	/** Whether the same call may succeed later, without a change of its arguments. */
	readonly transient: boolean;
	/**
	 * @param code what went wrong, for programs
	 * @param message what went wrong, for people
	 * @param cause the error behind this one, if any
	 */
	constructor(code: SnapTunErrorCode, message: string, cause?: unknown);
}
/**
 * A key: 32 bytes, or base64 of 44 characters as `wg genkey` and `wg pubkey` print it, or a `node:crypto` KeyObject
 * (X25519 private or public key; for a pre-shared key a secret of 32 bytes).
 */
export type KeyInput = Uint8Array | string | KeyObject;
/** Makes a new private key from the system's random numbers. Base64, as `wg genkey` prints. */
export declare function generatePrivateKey(): string;
/**
 * The public key of a private key: the identity that the other side sees. Base64, as `wg pubkey` prints.
 *
 * Throws `ERR_SNAPTUN_INVALID_KEY`.
 */
export declare function publicKey(privateKey: KeyInput): string;
/** What `authorize` is asked. */
export interface AuthorizationRequest {
	/** The client's public key, base64. It is proved: only who owns the private key gets this far. */
	readonly identity: string;
	/** Where the client sends from. */
	readonly remote: SocketAddress;
	/** Aborts when the answer is no longer wanted: after `authorizationTimeout`, or when the server closes. */
	readonly signal: AbortSignal;
}
/** An identity may pass: until when, with which session. */
export type Authorization<Session = unknown> = AuthorizationTerms & (undefined extends Session ? {
	readonly session?: Session;
} : {
	readonly session: Session;
});
/** The part of an {@link Authorization} that has nothing to do with the session. */
export interface AuthorizationTerms {
	/**
	 * Wall-clock time of the end, a Date or milliseconds since the epoch; from the call on it is a duration, so that setting
	 * the clock changes nothing. Default: until it is revoked.
	 */
	readonly expiresAt?: number | Date;
	/** 32 bytes that both sides have to know beside the keys. Default: none. */
	readonly presharedKey?: KeyInput;
}
/** The application's callback. `null` refuses. A throw or rejection refuses too, and is an event `authorizeerror`. */
export type Authorize<Session> = (request: AuthorizationRequest) => Authorization<Session> | null | PromiseLike<Authorization<Session> | null>;
/** What every call to a control plane has. */
export interface ControlPlaneRequest {
	/** What the token source gave for this call. */
	readonly token: string;
	/** Aborts when the result is no longer wanted: by the caller, by the endpoint's end, or after `requestTimeout`. */
	readonly signal?: AbortSignal | undefined;
}
/** An identity to be registered. */
export interface RegistrationRequest extends ControlPlaneRequest {
	/** The public key, base64. */
	readonly identity: string;
	/** This side's share of a pre-shared key, 32 bytes; none when absent. */
	readonly pskShare?: Uint8Array | undefined;
}
/** Where tunnels go. */
export interface DataPlaneInfo {
	/** Where the server listens. */
	readonly address: AddressInput;
	/** The server's public key, if the control plane knows it. */
	readonly publicKey?: KeyInput | undefined;
	/** The control plane to register at, if it is another than the one that was asked. */
	readonly registrationUrl?: string | undefined;
}
/** What a control plane answers to a registration. */
export interface RegistrationResult {
	/** The control plane's share of a pre-shared key, 32 bytes; none when absent. */
	readonly pskShare?: Uint8Array | undefined;
}
/**
 * The client of a control plane.
 *
 * A call that rejects is made again, see `RetryOptions`, unless its error has a property `transient` that is `false`:
 * then the control plane has refused, and asking again would change nothing. Errors must not contain the token.
 */
export interface ControlPlane {
	/** Where the data plane is, and which key it has. */
	getDataPlane(request: ControlPlaneRequest): PromiseLike<DataPlaneInfo> | DataPlaneInfo;
	/**
	 * Lets the data plane know an identity. Registering it again renews it, and must do no harm: it happens with each
	 * renewed token, and when an answer got lost.
	 */
	registerIdentity(request: RegistrationRequest): PromiseLike<RegistrationResult> | RegistrationResult;
	/** Releases what it holds. Called once, after the last call. */
	close?(): PromiseLike<void> | void;
}
/** Options of {@link ConnectControlPlane}. */
export interface ConnectControlPlaneOptions {
	/** How long one call may take, in milliseconds; at least 1. Default: 10000. */
	timeout?: number;
	/**
	 * Makes the connections: a `node:http` or `node:https` Agent, as the URL says. For other certificates than the
	 * system's, and for proxies. It stays open. Default: one of its own, which keeps connections for a few seconds.
	 */
	agent?: HttpAgent;
}
/**
 * A control plane that speaks Connect RPC: service `SnapControl` of the package `anapaya.snap.v1`, over HTTP/1.1 with
 * or without TLS. Opens its first connection with the first call.
 *
 * Calls reject with `ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE` (transient) when it can't be reached, is overloaded, fails
 * or does not answer within `timeout`; with `ERR_SNAPTUN_TOKEN_REFUSED`; with `ERR_SNAPTUN_CONTROL_PLANE_REFUSED` for
 * another reason to refuse; with `ERR_SNAPTUN_CONTROL_PLANE_ANSWER` when something else answers, or what it answers
 * can't be used; with `ERR_SNAPTUN_CLOSED`; with `ERR_SNAPTUN_TOKEN_INVALID` for a token that no header can carry; or
 * with the reason of the signal, after which it is not known whether the call reached the control plane.
 */
export declare class ConnectControlPlane implements ControlPlane, AsyncDisposable {
	#private;
	/** Where it is, without a slash at the end. */
	readonly url: string;
	/**
	 * @param url `http:` or `https:`; without credentials, query and fragment. A path is put before those of the service.
	 *
	 * Throws `ERR_SNAPTUN_INVALID_OPTION`, which names the option.
	 */
	constructor(url: string | URL, options?: ConnectControlPlaneOptions);
	/** Asks where the data plane is. */
	getDataPlane(request: ControlPlaneRequest): Promise<DataPlaneInfo>;
	/** Registers an identity until the token ends. Rejects with `ERR_SNAPTUN_INVALID_KEY` for what is none. */
	registerIdentity(request: RegistrationRequest): Promise<RegistrationResult>;
	/** Ends calls under way, and closes connections. Never rejects; harmless when repeated. */
	close(): Promise<void>;
	/** As {@link close}. */
	[Symbol.asyncDispose](): Promise<void>;
}
/** Bounds of a queue between JavaScript and native. Packets are dropped or refused when either is reached. */
export interface QueueOptions {
	/** At most this many packets, 1 to 1,048,576. */
	packets?: number;
	/** At most this many bytes, 65,536 to 1,073,741,824. */
	bytes?: number;
}
/** What every call that waits accepts. */
export interface WaitOptions {
	/** Aborts the wait: the promise rejects with the signal's reason. */
	signal?: AbortSignal | undefined;
}
/** Options of `SnapTunnel.connect`. Durations are in milliseconds, sizes in bytes. */
export interface ConnectOptions {
	/** This side's private key: who it is. */
	privateKey: KeyInput;
	/** Where the server listens. A host name is looked up once, when connecting. */
	server: AddressInput;
	/** The server's public key: only who owns its private key can answer. */
	serverPublicKey: KeyInput;
	/** 32 bytes that both sides have to know beside the keys. Default: none. */
	presharedKey?: KeyInput;
	/** Local address to send from, an IP literal; port 0 lets the system choose. Default: any. */
	bind?: AddressInput;
	/** How long to try before the promise rejects with `ERR_SNAPTUN_CONNECT_TIMEOUT`; at least 1. Default: 15000. */
	connectTimeout?: number;
	/**
	 * Send something at least this often, so that NATs keep the way back open; 0 never. In whole seconds on the wire:
	 * rounded up, at most 65535000. Default: 10000.
	 */
	keepalive?: number;
	/** How to reach a server again that was lost; `false` closes the tunnel instead. Default: for as long as it takes. */
	reconnect?: ReconnectOptions | false;
	/**
	 * How long the server may be silent, at least 250, before it is asked for a sign of life by a handshake; a server that
	 * does not answer within as much again, 5000 at most, is lost. Without it a client that only receives notices a dead
	 * server after minutes, one that sends after 15 seconds (WireGuard's timers). 0: never. Default: 0.
	 */
	livenessTimeout?: number;
	/**
	 * What to do when a later handshake assigns another address than before, as after NAT rebinding: close with
	 * `ERR_SNAPTUN_ADDRESS_CHANGED`, or go on, with the event `addresschange` either way. Default: `'close'`.
	 */
	onAddressChange?: "close" | "continue";
	/** Bounds of what waits to be read; beyond them packets are dropped and counted. Default: 4096 packets, 2 MiB. */
	receiveQueue?: QueueOptions;
	/**
	 * Bounds of what waits to be sent. Beyond them `send` waits while there is a session, and while the first one is being
	 * made; while the server is lost, packets are dropped and counted. Default: 1024 packets, 2 MiB.
	 */
	sendQueue?: QueueOptions;
	/**
	 * Packets that may wait while there is a session, from 1 to `sendQueue.packets`; then `send` waits, and `trySend` returns
	 * false. A small number keeps what is sent fresh, a larger one the sender busy. Default: `sendQueue.packets`.
	 */
	highWaterMark?: number;
	/** What the operating system is asked to buffer each way, 4096 to 2^30; it may give less. Default: 4 MiB. */
	socketBufferSize?: number;
	/** Gives up connecting: the promise rejects with the signal's reason. Has no effect on a tunnel once it is connected. */
	signal?: AbortSignal | undefined;
}
/** How often, and for how long, a control plane is asked again. Durations in milliseconds. */
export interface RetryOptions {
	/** From the first attempt, when it has failed, to the second; at least 1. Default: 1000. */
	initialDelay?: number;
	/** What the delay grows by, 1 to 10. Default: 1.5. */
	factor?: number;
	/**
	 * The delay grows no further than this; no less than `initialDelay`. Default: 20000, or `initialDelay` if that is
	 * more.
	 */
	maxDelay?: number;
	/** At most so much is added to each delay, at random. Default: 500. */
	jitter?: number;
	/**
	 * How long to try, before the last error is final: to learn where the data plane is, and to register. At least 1.
	 * Default: 30000.
	 */
	maxElapsed?: number;
}
/**
 * Where an endpoint's tokens come from:
 *
 * - a string: the one token;
 * - a function, asked before each call of a control plane, so it should remember a token for as long as that is good.
 *   While tunnels are open it is also asked in time before the token ends that was last registered with, if that is a
 *   JWT that says when: each time three quarters of what is left have passed, until it gives another. `signal` aborts
 *   when the token is no longer wanted. When it throws it is asked again, unless the error has a property `transient`
 *   that is `false`;
 * - an async iterable, such as an async generator: each token that it yields replaces the one before, and is registered
 *   with at once. When it ends, or throws, the last one stays. It is iterated over once, from the first `connect` until
 *   the endpoint closes; what it waits for by itself, a timer say, keeps the process alive as it would anywhere.
 */
export type TokenSource = string | ((options: {
	readonly signal: AbortSignal;
}) => string | PromiseLike<string>) | AsyncIterable<string>;
/** A registration that a control plane accepted. */
export interface Registration {
	/** The URL of the control plane. */
	readonly controlPlane: string;
	/** The control plane's share of a pre-shared key, as it came: nothing is made of it. */
	readonly pskShare: Uint8Array | undefined;
	/** When the token ends that it was made with, in milliseconds since the epoch; undefined if the token doesn't say. */
	readonly expiresAt: number | undefined;
}
/** Where to send a datagram. */
export interface DatagramTarget {
	/** IP literal: names are not looked up for each datagram. A link-local one can have a zone: `'fe80::1%eth0'`. */
	readonly address: string;
	/** UDP port, from 1 on. */
	readonly port: number;
}
/**
 * Packets as they lie in native memory. Valid until the next turn of the iterator that gave it; every use after that
 * throws `ERR_SNAPTUN_BATCH_RELEASED`.
 */
export interface PacketBatch {
	/** How many packets there are: at least one. */
	readonly length: number;
	/**
	 * Packet `i`, from 0 on: a view into native memory, made at each call. It is the caller's to read and to change until
	 * the next turn of the iterator, and shows other packets' bytes afterwards; `data(i).slice()` is a copy to keep.
	 * Throws `ERR_SNAPTUN_INVALID_OPTION` when there is no packet `i`.
	 */
	data(i: number): Uint8Array;
	/** Bytes of packet `i`, without making a view. Throws as {@link data} does. */
	size(i: number): number;
}
/** A datagram that was received: a copy, the user's to keep. */
export interface Datagram {
	/** Its content; a datagram may have none. */
	readonly data: Uint8Array;
	/** Who sent it. */
	readonly remote: SocketAddress;
	/**
	 * The address that it was sent to: which of this machine's, or which group. Undefined where the system does not tell.
	 */
	readonly local: string | undefined;
	/** The two ECN bits (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced. */
	readonly ecn: number;
}
/** Datagrams as they lie in native memory; see {@link PacketBatch}. Each call throws as {@link PacketBatch.data} does. */
export interface DatagramBatch extends PacketBatch {
	/** Who sent datagram `i`. */
	remote(i: number): SocketAddress;
	/** The address that datagram `i` was sent to; undefined where the system does not tell. */
	local(i: number): string | undefined;
	/** The ECN bits of datagram `i`, see {@link Datagram.ecn}. */
	ecn(i: number): number;
}
/** Packets of one size, cut from one buffer: the cheapest form to send many. */
export interface PacketSegments {
	/** The packets, one after the other. Must not change until the send settles. */
	readonly data: Uint8Array;
	/** Bytes a packet; the last one may be shorter. */
	readonly size: number;
}
/** What `sendBatch` takes. */
export type SendBatchInput = readonly Uint8Array[] | PacketSegments | PacketBatch;
/** Options of calls that send. */
export interface DatagramSendOptions extends WaitOptions {
	/** The two ECN bits (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced. Default: 0. */
	ecn?: number;
}
/** A datagram and where it goes. */
export interface AddressedDatagram extends DatagramTarget {
	/** Its content; a datagram may have none. */
	readonly data: Uint8Array;
}
/**
 * What is counted. Counters only grow, and count from the moment of opening; what is a level and not a counter says so.
 */
/** What tunnels and servers count alike. A server sums up its shards. */
export interface TrafficStats {
	/** Packets that arrived, were genuine, and were put into the receive queue. */
	readonly packetsReceived: number;
	/** Bytes of these packets, without any headers. */
	readonly bytesReceived: number;
	/** Packets that were encrypted for sending. */
	readonly packetsSent: number;
	/** Bytes of these packets, without any headers. */
	readonly bytesSent: number;
	/** UDP datagrams handed to the operating system; handshakes and keepalives too. */
	readonly datagramsSent: number;
	/** System calls that took: with GSO one carries many datagrams. */
	readonly sendCalls: number;
	/** Packets dropped because the receive queue was full. */
	readonly droppedReceiveQueueFull: number;
	/** Datagrams that the operating system refused to send: no route, interface down, port unreachable. */
	readonly droppedBySystem: number;
	/** Packets dropped because they don't fit into a datagram on their path. */
	readonly droppedOversized: number;
	/** Datagrams that are no message of the protocol. */
	readonly droppedMalformed: number;
	/** Datagrams that could not be decrypted, or didn't belong to a session. */
	readonly droppedInvalid: number;
	/** Packets that had arrived before, or too late to know. */
	readonly droppedReplayed: number;
	/** Errors of receiving from the socket. */
	readonly socketErrors: number;
	/** Keepalives that arrived. */
	readonly keepalivesReceived: number;
	/** Handshakes that were completed. */
	readonly handshakes: number;
	/** Packets in the receive queue now: a level. */
	readonly receiveQueuePackets: number;
	/** Packets in the send queue now: a level. */
	readonly sendQueuePackets: number;
	/**
	 * What the operating system buffers for receiving, in bytes: a level. Linux says twice what it was asked for, and gives
	 * no more than `net.core.rmem_max`. What does not fit is lost without being counted here (`RcvbufErrors` in
	 * `/proc/net/snmp`).
	 */
	readonly socketReceiveBufferBytes: number;
	/** The same for sending; on Linux `net.core.wmem_max`. */
	readonly socketSendBufferBytes: number;
}
/** What `SnapTunnel.stats()` returns. */
export interface TunnelStats extends TrafficStats {
	/** Datagrams from another address than the server's. */
	readonly droppedForeign: number;
	/** Packets dropped because there was no session, and no room for more to wait. */
	readonly droppedWithoutSession: number;
	/** Handshakes that this side started, answered or not. */
	readonly handshakesStarted: number;
	/** Cookies that the server answered with: it is under load, and the next handshake proves this side's address. */
	readonly cookiesReceived: number;
	/** Cookies sent, because more handshakes came from the server's address than a server makes. */
	readonly cookiesSent: number;
}
/** What `stats()` of a server's tunnel returns. */
export interface ServerTunnelStats {
	/** Packets that arrived and were genuine. */
	readonly packetsReceived: number;
	/** Bytes of these packets, without any headers. */
	readonly bytesReceived: number;
	/** Packets that were encrypted for sending. */
	readonly packetsSent: number;
	/** Bytes of these packets, without any headers. */
	readonly bytesSent: number;
}
/** What `SnapTunServer.stats()` returns. */
export interface ServerStats extends TrafficStats {
	/** Tunnels now, those too that have not yet shown that they hear us: a level. */
	readonly tunnels: number;
	/** Handshakes of identities that may not pass. */
	readonly handshakesRefused: number;
	/** Handshakes refused because `maxTunnels`, `maxTunnelsPerIdentity` or `maxPendingAuthorizations` was reached. */
	readonly handshakesAtCapacity: number;
	/** Handshakes that had been seen before. */
	readonly handshakesReplayed: number;
	/** Handshakes that proved nothing: for another server's key, forged, or damaged. */
	readonly handshakesInvalid: number;
	/** Handshakes dropped under load: too many waited their turn, or came from one network. */
	readonly handshakesRateLimited: number;
	/** Cookies that handshakes were answered with: under load, or for an address that another identity holds. */
	readonly handshakeCookies: number;
	/** Handshakes that wait their turn now: a level. */
	readonly handshakesPending: number;
	/** Handshakes that wait for an answer of `authorize` now: a level. */
	readonly authorizationsPending: number;
	/** Datagrams that reached another shard than the tunnel's, faster than they could be handed over. */
	readonly droppedHandoverFull: number;
	/** Datagrams for a session that doesn't exist. */
	readonly droppedUnknown: number;
	/** Packets, in and out, of identities that may not pass any more. */
	readonly droppedUnauthorized: number;
	/** Packets to tunnels that had no session left. */
	readonly droppedNoSession: number;
	/** Packets that were sent to tunnels after these had closed. */
	readonly lateSends: number;
	/** Calls of `authorize` that threw, rejected, or returned what is no authorization. */
	readonly authorizeErrors: number;
	/** Calls of `authorize` that did not settle in time. */
	readonly authorizeTimeouts: number;
	/** Calls of `authorize` that wait for an answer now: a level. */
	readonly authorizePending: number;
}
/**
 * One client's tunnel at a `SnapTunServer`. Made by the server, which announces it with the event `tunnel` and its end
 * with `tunnelclose`.
 */
export declare class ServerTunnel<Session = unknown> {
	#private;
	/** Number of the tunnel, unique on its server; not used again soon. */
	readonly id: number;
	/** The client's public key, base64: who it is, proved by the handshake. */
	readonly identity: string;
	/** Where the client sends from. */
	readonly remote: SocketAddress;
	/** When the server announced the tunnel, in milliseconds since the epoch. */
	readonly establishedAt: number;
	private constructor();
	/**
	 * What the application's authorization gave for this identity. A later `server.authorize` of the same identity replaces
	 * it, here too.
	 */
	get session(): Session;
	/** Bytes that a packet may have at most. */
	get maxPacketSize(): number;
	/** Whether it has closed. Packets sent to it from then on are dropped and counted (`lateSends` in `server.stats()`). */
	get closed(): boolean;
	/** When the last handshake with the client was done, in milliseconds since the epoch; null while there is no session. */
	get lastHandshakeAt(): number | null;
	/** What passed through the tunnel so far; of one that has closed, what had passed when this was called last. */
	stats(): ServerTunnelStats;
	/**
	 * Sends a packet to the client. Settles with what became of it, at once while there is room; the packet must not change
	 * before. Rejects with `ERR_SNAPTUN_INVALID_PACKET`, `ERR_SNAPTUN_PACKET_EMPTY`,
	 * `ERR_SNAPTUN_PACKET_TOO_LARGE`, `ERR_SNAPTUN_TOO_MANY_SENDS`, with `ERR_SNAPTUN_CLOSED` when the server is closed, or
	 * with the reason of `options.signal`, which takes the packet back. A tunnel that has closed is no error, see {@link closed}.
	 */
	send(packet: Uint8Array, options?: WaitOptions): Promise<SendOutcome>;
	/**
	 * Sends a packet if there is room at once, and says whether it was taken: false also when the tunnel has closed.
	 * Throws as {@link send} rejects.
	 */
	trySend(packet: Uint8Array): boolean;
	/** As `writable` of `SnapTunnel`: the tunnels of a shard share one queue. */
	writable(options?: WaitOptions): Promise<void>;
	/**
	 * Sends many packets to the client, in their order: an array, `{ data, size }`, or a batch that was received, from
	 * whomever. Settles when native has taken all; until then they must not change. Rejects as {@link send} does, and
	 * sends nothing then; but what was taken before `options.signal` aborts, or before the server closes, is sent.
	 */
	sendBatch(packets: SendBatchInput, options?: WaitOptions): Promise<BatchOutcome>;
	/** Starts to close the tunnel; the event `tunnelclose` follows. Its client may connect again, while it is authorized. */
	close(): void;
}
/** Options of `SnapTunServer.listen`. Durations are in milliseconds, sizes in bytes. */
export interface ListenOptions<Session = unknown> {
	/** The server's private key; clients know its public key. */
	privateKey: KeyInput;
	/** Local address, or a host name that has one. Default: `'0.0.0.0'`, all of IPv4; `'::'` is all of both. */
	address?: string;
	/** UDP port; 0 lets the system choose, see `server.address()`. Default: 0. */
	port?: number;
	/** Threads that share the work, 1 to 256, each with a socket of its own on that port. Default: 1. */
	shards?: number;
	/**
	 * Whether the shards share the port by `SO_REUSEPORT`, and the kernel spreads what arrives over them. Otherwise one socket
	 * is read, and datagrams are handed to shards by a hash of their source. Default: true on Linux, false elsewhere.
	 */
	reusePort?: boolean;
	/** Take no IPv4 on an IPv6 address. Default: false. */
	ipv6Only?: boolean;
	/**
	 * Decides about an identity that asks for a tunnel. Asked once, however many of its handshakes wait; the answer holds
	 * until it expires or is revoked. 1 to 30 seconds before it expires an identity with open tunnels is asked for again, so
	 * that a renewed answer leaves no gap. Default: only identities pass that `server.authorize` was called for.
	 */
	authorize?: Authorize<Session>;
	/** Tunnels at the same time; beyond it handshakes are refused and counted. Default: 16384. */
	maxTunnels?: number;
	/** The same for one identity. Default: 64. */
	maxTunnelsPerIdentity?: number;
	/** Identities that wait for `authorize` at the same time; further ones are refused and counted. Default: 1024. */
	maxPendingAuthorizations?: number;
	/** How long `authorize` may take, at least 1; beyond it the identity is refused. Default: 10000. */
	authorizationTimeout?: number;
	/** Bounds of what waits to be read, a shard; beyond them packets are dropped and counted. Default: 4096 packets, 2 MiB. */
	receiveQueue?: QueueOptions;
	/** Bounds of what waits to be sent, a shard; beyond them `send` waits. Default: 1024 packets, 2 MiB. */
	sendQueue?: QueueOptions;
	/**
	 * What the operating system is asked to buffer each way, 4096 to 2^30; it may give less, see `stats()`. Default: 4 MiB,
	 * of which Linux gives what `net.core.rmem_max` and `wmem_max` allow: 208 KiB unless they were raised.
	 */
	socketBufferSize?: number;
	/** Gives up listening, before the promise settles: it rejects with the signal's reason. */
	signal?: AbortSignal | undefined;
}
/** Options of `SnapTunServerCore`: those of {@link ListenOptions} that have nothing to do with sockets. */
export type ServerCoreOptions = Pick<ListenOptions, "privateKey" | "maxTunnels" | "maxTunnelsPerIdentity" | "maxPendingAuthorizations" | "authorizationTimeout">;
/** A packet that a server received: a copy, the user's to keep. */
export interface ServerPacket<Session = unknown> {
	/** The tunnel that it came through, with the client's identity and session. */
	readonly tunnel: ServerTunnel<Session>;
	/** The packet's bytes. */
	readonly data: Uint8Array;
}
/** Packets of a server as they lie in native memory; see {@link PacketBatch}. */
export interface ServerPacketBatch<Session = unknown> extends PacketBatch {
	/** The tunnel that packet `i` came through. Throws as {@link PacketBatch.data} does. */
	tunnel(i: number): ServerTunnel<Session>;
}
/**
 * Why a tunnel of a server closed: its authorization or session expired, it was revoked, its client made another one from
 * the same address, the application closed it, or the whole server.
 */
export type TunnelCloseReason = "expired" | "revoked" | "replaced" | "closed" | "server-closed";
/** Events of {@link SnapTunServer}. */
export interface SnapTunServerEvents<Session = unknown> {
	/** A client is connected. Comes before the first of its packets can be read. */
	tunnel: [
		tunnel: ServerTunnel<Session>
	];
	/** A tunnel has closed. Packets that arrived before may still be read afterwards. */
	tunnelclose: [
		tunnel: ServerTunnel<Session>,
		reason: TunnelCloseReason
	];
	/** A client proved its identity and may not pass: `authorize` refused it, now or a moment ago. */
	unauthorized: [
		identity: string,
		remote: SocketAddress
	];
	/** The application's `authorize` failed for a client, which was refused. Also counted, in `stats()`. */
	authorizeerror: [
		error: unknown,
		request: AuthorizationRequest
	];
	/** The last event. With an error unless `close()` was called. */
	close: [
		error: SnapTunError | undefined
	];
}
/**
 * A server that accepts tunnels of authorized clients, each with the session data that the application gave it.
 *
 * An open server keeps the process alive, see {@link unref}. A closed one stays closed: every later call fails with the
 * same coded error.
 */
export declare class SnapTunServer<Session = unknown> extends EventEmitter<SnapTunServerEvents<Session>> implements AsyncDisposable {
	#private;
	/** The server's public key, base64: what clients need to know. */
	readonly publicKey: string;
	private constructor();
	/**
	 * Starts a server; settles when its sockets are bound. Rejects, leaving nothing behind, with
	 * `ERR_SNAPTUN_INVALID_OPTION`, `ERR_SNAPTUN_INVALID_KEY` or `ERR_SNAPTUN_INVALID_ADDRESS`, which name the option; with
	 * `ERR_SNAPTUN_LOOKUP` for a host that is not found; with `ERR_SNAPTUN_ADDRESS_IN_USE`, `ERR_SNAPTUN_ADDRESS_UNAVAILABLE`,
	 * `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO`; or with the reason of `options.signal`.
	 */
	static listen<Session = unknown>(options: ListenOptions<Session>): Promise<SnapTunServer<Session>>;
	/** The address that it listens on, with the port that the system chose if it was to. Stays known after the end. */
	address(): SocketAddress;
	/** Whether the server was closed, or ended by an error. */
	get closed(): boolean;
	/**
	 * Lets an identity (a client's public key) pass, without waiting to be asked. For one that may pass already it replaces
	 * the end and the session, for its open tunnels too. Throws `ERR_SNAPTUN_INVALID_KEY`, `ERR_SNAPTUN_INVALID_OPTION` or
	 * `ERR_SNAPTUN_CLOSED`.
	 */
	authorize(identity: KeyInput, authorization: Authorization<Session>): void;
	/**
	 * Lets an identity pass no more: nothing of it passes, either way, from the moment of the call, and its tunnels close.
	 * When it asks again, `authorize` is asked again. Rejects as {@link authorize} throws.
	 */
	revoke(identity: KeyInput): Promise<void>;
	/** The open tunnels. Those that open or close during the iteration may or may not be among them. */
	tunnels(): IterableIterator<ServerTunnel<Session>>;
	/** The open tunnel to a client's address; undefined when there is none. */
	tunnel(remote: {
		readonly address: string;
		readonly port: number;
	}): ServerTunnel<Session> | undefined;
	/** As {@link ServerTunnel.send}; a tunnel of another server is `ERR_SNAPTUN_UNKNOWN_TUNNEL`. */
	send(tunnel: ServerTunnel<Session>, packet: Uint8Array, options?: WaitOptions): Promise<SendOutcome>;
	/** As {@link ServerTunnel.trySend}; a tunnel of another server is `ERR_SNAPTUN_UNKNOWN_TUNNEL`. */
	trySend(tunnel: ServerTunnel<Session>, packet: Uint8Array): boolean;
	/**
	 * Sends each packet of a batch of this server back to the tunnel that it came from, straight from native memory, also
	 * what was changed in it. Settles when native has taken all; the next turn of the iterator waits for that. Rejects with
	 * `ERR_SNAPTUN_BATCH_RELEASED`, `ERR_SNAPTUN_INVALID_PACKET`, and as {@link ServerTunnel.send} does.
	 */
	sendBatch(batch: ServerPacketBatch<Session>, options?: WaitOptions): Promise<BatchOutcome>;
	/** As {@link ServerTunnel.sendBatch}; a tunnel of another server is `ERR_SNAPTUN_UNKNOWN_TUNNEL`. */
	sendBatch(tunnel: ServerTunnel<Session>, packets: SendBatchInput, options?: WaitOptions): Promise<BatchOutcome>;
	/** As `recv` of `SnapTunnel`, of whichever tunnel. */
	recv(options?: WaitOptions): Promise<ServerPacket<Session>>;
	/** As `tryRecv` of `SnapTunnel`, of whichever tunnel. */
	tryRecv(): ServerPacket<Session> | null;
	/** As `batches` of `SnapTunnel`, of whichever tunnels; the shards take turns. */
	batches(): AsyncIterableIterator<ServerPacketBatch<Session>, undefined, undefined>;
	/** Iterates over packets of all tunnels, each a copy; as {@link recv}, and ends when the server is closed. */
	[Symbol.asyncIterator](): AsyncIterableIterator<ServerPacket<Session>, undefined, undefined>;
	/** Counters, summed over the shards; see {@link ServerStats}. They stay readable after the end. */
	stats(): ServerStats;
	/** Keeps the process alive while the server is open, which is the default. */
	ref(): this;
	/** Lets the process exit although the server is open. */
	unref(): this;
	/**
	 * Closes the server and its tunnels; settles when its sockets are released. What waits rejects with
	 * `ERR_SNAPTUN_CLOSED`, iterators end, packets that were not read are dropped, and what `authorize` answers later is
	 * ignored. Clients are not told. Never rejects; harmless when repeated.
	 */
	close(): Promise<void>;
	/** As {@link close}. */
	[Symbol.asyncDispose](): Promise<void>;
}
/** The messages, by channel; each channel's name begins with `snaptun:`. */
export interface DiagnosticsMessages {
	/** `snaptun:tunnel`: a client is connected to a server. */
	tunnel: {
		readonly server: SnapTunServer;
		readonly tunnel: ServerTunnel;
	};
	/** `snaptun:tunnelclose`: a tunnel of a server has closed. */
	tunnelclose: {
		readonly server: SnapTunServer;
		readonly tunnel: ServerTunnel;
		readonly reason: TunnelCloseReason;
	};
	/** `snaptun:unauthorized`: a client proved its identity, and may not pass. */
	unauthorized: {
		readonly server: SnapTunServer;
		readonly identity: string;
		readonly remote: SocketAddress;
	};
	/**
	 * `snaptun:socketbuffer`: the kernel gave the sockets of a server that begins to listen smaller buffers than
	 * `socketBufferSize` asked for; once a server, in bytes a socket. On Linux `net.core.rmem_max` and `wmem_max` decide.
	 */
	socketbuffer: {
		readonly server: SnapTunServer;
		readonly asked: number;
		readonly receive: number;
		readonly send: number;
	};
}
/** Options of {@link SnapTunEndpoint}. Durations are in milliseconds. */
export interface EndpointOptions {
	/** The endpoint's private key: who all its tunnels are. */
	privateKey: KeyInput;
	/** What control planes are shown. */
	tokenSource: TokenSource;
	/**
	 * Makes the client of the control plane at a URL, once while it is in use. What it throws, `connect` rejects with.
	 * Default: a {@link ConnectControlPlane} with `requestTimeout`.
	 */
	controlPlane?: (url: string) => ControlPlane;
	/** This side's share of a pre-shared key, sent with each registration as it is; 32 bytes. Default: none. */
	pskShare?: KeyInput;
	/** How often, and for how long, a control plane is asked again. */
	retry?: RetryOptions;
	/** How long one request to a control plane may take, with the token for it; at least 1. Default: 10000. */
	requestTimeout?: number;
}
/**
 * Options of `SnapTunEndpoint.connect`: those of a tunnel. `server` and `serverPublicKey` are what the control plane
 * tells when they are left out; where both are given it isn't asked.
 */
export type EndpointConnectOptions = Omit<ConnectOptions, "privateKey" | "server" | "serverPublicKey"> & Partial<Pick<ConnectOptions, "server" | "serverPublicKey">>;
/** Options of `SnapTunnel.toDuplex`. */
export interface DuplexOptions {
	/** Packets that the stream itself holds each way before it pushes back, from 1 on. Default: 64. */
	highWaterMark?: number;
	/**
	 * Whether the tunnel closes with the stream: when it is destroyed, or when it has ended both ways. The readable side ends
	 * with the tunnel, and fails with the error that ended that; the writable side ends with `end()`, of which the server
	 * is not told. Default: true.
	 */
	closeTunnel?: boolean;
}
/** Events of {@link SnapTunnel}. */
export interface SnapTunnelEvents {
	/** The server is lost, and an attempt to reach it is made: its number, milliseconds until the next one, and why. */
	reconnecting: [
		attempt: number,
		delay: number,
		cause: ReconnectCause
	];
	/** A handshake is done after {@link reconnecting}. */
	reconnected: [
	];
	/** The server sees this side at another address than before; `close` follows unless `onAddressChange` is `'continue'`. */
	addresschange: [
		from: SocketAddress,
		to: SocketAddress
	];
	/** The path takes packets of this many bytes at most from now on. */
	mtu: [
		maxPacketSize: number
	];
	/** The last event. With an error unless `close()` was called. */
	close: [
		error: SnapTunError | undefined
	];
}
/**
 * A tunnel to a server. Packets go in and come out whole, encrypted on the way; like datagrams they may be lost, and may
 * be overtaken by others, but never changed. What one caller sends leaves in that order.
 *
 * An open tunnel keeps the process alive, see {@link unref}. A closed one stays closed: every later call fails with the
 * same coded error.
 */
export declare class SnapTunnel extends EventEmitter<SnapTunnelEvents> implements AsyncDisposable {
	#private;
	/** The server's address. */
	readonly remoteAddress: SocketAddress;
	private constructor();
	/**
	 * Opens a tunnel; settles when the handshake is done. Rejects, having released the socket, with
	 * `ERR_SNAPTUN_INVALID_OPTION`, `ERR_SNAPTUN_INVALID_KEY` or `ERR_SNAPTUN_INVALID_ADDRESS`, which name the option; with
	 * `ERR_SNAPTUN_LOOKUP` for a host that is not found; with `ERR_SNAPTUN_ADDRESS_IN_USE`, `ERR_SNAPTUN_ADDRESS_UNAVAILABLE`,
	 * `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO` for the local socket; with `ERR_SNAPTUN_CONNECT_TIMEOUT` when nobody
	 * answers, or the server refuses; or with the reason of `options.signal`.
	 */
	static connect(options: ConnectOptions): Promise<SnapTunnel>;
	/**
	 * Opens a tunnel without waiting for its handshake, see {@link ready}. What is sent before waits within the bounds of
	 * `sendQueue`, and leaves in its order once the handshake is done. Rejects as {@link connect}, but for the time-out:
	 * that closes the tunnel. `options.signal` counts until the promise settles.
	 */
	static open(options: ConnectOptions): Promise<SnapTunnel>;
	/**
	 * Settles when the first handshake is done. Rejects with `ERR_SNAPTUN_CONNECT_TIMEOUT` or whatever else closed the
	 * tunnel, or with the reason of `options.signal`, which ends only the wait.
	 */
	ready(options?: WaitOptions): Promise<void>;
	/** Whether there is a session now: false before the first handshake, while the server is lost, and after the end. */
	get connected(): boolean;
	/**
	 * This side's address as the server sees it: what the server assigned with the last handshake. Throws
	 * `ERR_SNAPTUN_NOT_READY` before the first, which can be only of a tunnel from {@link open}.
	 */
	get localAddress(): SocketAddress;
	/** Bytes that a packet may have at most; see the event `mtu`. */
	get maxPacketSize(): number;
	/** Whether the tunnel was closed, or ended by an error. */
	get closed(): boolean;
	/**
	 * Sends a packet. Settles with what became of it, see {@link SendOutcome}: at once while there is room, or while the
	 * server is lost; the packet must not change before. Rejects with `ERR_SNAPTUN_INVALID_PACKET`, `ERR_SNAPTUN_PACKET_EMPTY`, `ERR_SNAPTUN_PACKET_TOO_LARGE`,
	 * `ERR_SNAPTUN_TOO_MANY_SENDS`, `ERR_SNAPTUN_CLOSED` (or what ended the tunnel), or with the reason of `options.signal`,
	 * which takes the packet back.
	 */
	send(packet: Uint8Array, options?: WaitOptions): Promise<SendOutcome>;
	/**
	 * Sends a packet if there is room at once, and says whether it was taken; while the server is lost, one that was not
	 * is counted as dropped. Throws as {@link send} rejects.
	 */
	trySend(packet: Uint8Array): boolean;
	/**
	 * Settles when `trySend` would take a packet. Rejects with what ended the tunnel, with `ERR_SNAPTUN_TOO_MANY_SENDS`, or
	 * with the reason of `options.signal`.
	 */
	writable(options?: WaitOptions): Promise<void>;
	/**
	 * Sends many packets, in their order: an array, `{ data, size }` (the fastest), or a batch that was received, from
	 * whomever. Settles when native has taken all; until then they must not change. Rejects as {@link send} does, and
	 * sends nothing then; but what was taken before `options.signal` aborts, or before the tunnel closes, is sent.
	 */
	sendBatch(packets: SendBatchInput, options?: WaitOptions): Promise<BatchOutcome>;
	/**
	 * The next packet, a copy to keep. Calls that wait are served in their order. Rejects with `ERR_SNAPTUN_CLOSED`, with
	 * what ended the tunnel once all packets before it were read, with `ERR_SNAPTUN_BUSY` while somebody iterates over
	 * {@link batches}, or with the reason of `options.signal`; no packet is lost by that.
	 */
	recv(options?: WaitOptions): Promise<Uint8Array>;
	/** The next packet, a copy to keep, or null when none is there at this moment. Throws as {@link recv} rejects. */
	tryRecv(): Uint8Array | null;
	/**
	 * Iterates over packets as they lie in native memory, many at a time: the fastest way to receive. A batch is valid until
	 * the next turn. One iterator at a time, and nobody receives beside it (`ERR_SNAPTUN_BUSY`). Ends when the tunnel is
	 * closed; throws what ended it otherwise.
	 */
	batches(): AsyncIterableIterator<PacketBatch, undefined, undefined>;
	/** Iterates over copies of packets; as {@link recv}, and ends when the tunnel is closed. */
	[Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array, undefined, undefined>;
	/**
	 * The tunnel as a stream of packets, for `pipeline`: an object-mode Duplex of `Uint8Array`s, with backpressure both
	 * ways. It reads as {@link recv} does, so that nobody else should. See {@link DuplexOptions} for its end.
	 */
	toDuplex(options?: DuplexOptions): Duplex;
	/** Counters; see {@link TunnelStats}. They stay readable after the end. */
	stats(): TunnelStats;
	/** Keeps the process alive while the tunnel is open, which is the default. */
	ref(): this;
	/** Lets the process exit although the tunnel is open. */
	unref(): this;
	/**
	 * Closes the tunnel; settles when its socket is released. What waits rejects with `ERR_SNAPTUN_CLOSED`, iterators end,
	 * and packets that were not read are dropped. Never rejects; harmless when repeated.
	 */
	close(): Promise<void>;
	/** As {@link close}. */
	[Symbol.asyncDispose](): Promise<void>;
}
/** Events of {@link SnapTunEndpoint}. */
export interface SnapTunEndpointEvents {
	/** A control plane has accepted the identity, for the first time or again. */
	registered: [
		registration: Registration
	];
	/**
	 * An attempt to register failed. Tunnels go on for as long as the data plane lets them. It is made again if
	 * `error.transient`, and otherwise with the next token or the next `connect`.
	 */
	registrationerror: [
		error: SnapTunError,
		controlPlane: string
	];
	/** The async iterable of tokens failed; its last token stays. */
	tokenerror: [
		error: SnapTunError
	];
}
/** What {@link SnapTunEndpoint.stats} returns. Counters only grow; what is a level says so. */
export interface EndpointStats {
	/** Open tunnels: a level. */
	readonly tunnels: number;
	/** Calls of `connect` under way: a level. */
	readonly connecting: number;
	/** Control planes in use, by a tunnel or by a `connect` under way: a level. */
	readonly controlPlanes: number;
	/** Registrations that were accepted. */
	readonly registrations: number;
	/** Attempts to register that failed. */
	readonly registrationErrors: number;
}
/**
 * One static identity with many tunnels. Control planes are asked where their data plane is, and told of the identity:
 * before the first tunnel, and again with each renewed token (see {@link TokenSource}) and when a tunnel has lost its
 * server. A control plane is forgotten when its last tunnel closes.
 *
 * Only tunnels and calls under way keep the process alive.
 */
export declare class SnapTunEndpoint extends EventEmitter<SnapTunEndpointEvents> implements AsyncDisposable {
	#private;
	/** The endpoint's identity, base64. */
	readonly publicKey: string;
	/**
	 * Opens nothing yet. Throws `ERR_SNAPTUN_INVALID_OPTION` or `ERR_SNAPTUN_INVALID_KEY`, which name the option, or
	 * `ERR_SNAPTUN_TOKEN_INVALID` for a token that can't be one.
	 */
	constructor(options: EndpointOptions);
	/** Whether the endpoint was closed. */
	get closed(): boolean;
	/**
	 * Opens a tunnel to the data plane of a control plane, having registered the identity there unless it is. Connects
	 * that wait for the same share one registration.
	 *
	 * Rejects as `SnapTunnel.connect` does; with `ERR_SNAPTUN_TOKEN_REFUSED`, `ERR_SNAPTUN_TOKEN_INVALID`,
	 * `ERR_SNAPTUN_CONTROL_PLANE_REFUSED` or `ERR_SNAPTUN_CONTROL_PLANE_ANSWER` at once; with
	 * `ERR_SNAPTUN_TOKEN_UNAVAILABLE` or `ERR_SNAPTUN_CONTROL_PLANE_UNAVAILABLE` after `retry.maxElapsed`; with what
	 * `options.controlPlane` threw; with `ERR_SNAPTUN_CLOSED`; or with the reason of `options.signal`. An abort ends
	 * nothing that another `connect` waits for, and a registration that was made by then stays.
	 */
	connect(controlPlaneUrl: string | URL, options?: EndpointConnectOptions): Promise<SnapTunnel>;
	/** The open tunnels. Those that open or close during the iteration may or may not be among them. */
	tunnels(): IterableIterator<SnapTunnel>;
	/** Counters; see {@link EndpointStats}. They stay readable after the end. */
	stats(): EndpointStats;
	/**
	 * Closes all tunnels, gives up what is under way (`connect` rejects with `ERR_SNAPTUN_CLOSED`), lets go of the token
	 * source, and clears this endpoint's copies of keys. Settles when all is released. Never rejects; harmless when
	 * repeated.
	 */
	close(): Promise<void>;
	/** As {@link close}. */
	[Symbol.asyncDispose](): Promise<void>;
}
/** A packet out of a tunnel. */
export interface CorePacket {
	/** Number of the tunnel. */
	readonly tunnel: number;
	/** Yours to keep. */
	readonly data: Uint8Array;
}
/** A datagram to be sent. */
export interface CoreDatagram {
	/** Where to. */
	readonly remote: SocketAddress;
	/** Yours to keep. */
	readonly data: Uint8Array;
}
/** Something that happened. */
export type CoreEvent = 
/** An identity proved itself: answer with `authorize` or `refuse`. Also shortly before an authorization expires. */
{
	readonly type: "authorize";
	readonly identity: string;
	readonly remote: SocketAddress;
}
/** An identity was refused without a question: the refusal of a moment ago still stands. */
 | {
	readonly type: "unauthorized";
	readonly identity: string;
	readonly remote: SocketAddress;
}
/** A tunnel is open. */
 | {
	readonly type: "tunnel";
	readonly tunnel: number;
	readonly identity: string;
	readonly remote: SocketAddress;
}
/** A tunnel is gone. */
 | {
	readonly type: "tunnelclose";
	readonly tunnel: number;
	readonly reason: TunnelCloseReason;
};
/** What a call of the core leads to, in this order: events, packets for the application, datagrams for the network. */
export interface CoreOutput {
	readonly events: readonly CoreEvent[];
	readonly packets: readonly CorePacket[];
	readonly datagrams: readonly CoreDatagram[];
}
/**
 * The protocol's side of a server: the same code that `SnapTunServer` runs on its sockets. Datagrams go in; packets,
 * datagrams and events come out. Every call takes effect at once and waits for nothing, and what a network sends never
 * throws. It holds no resource but memory, and keeps nothing alive.
 */
export declare class SnapTunServerCore {
	#private;
	/** The server's public key, base64: what clients need to know. */
	readonly publicKey: string;
	/** Throws `ERR_SNAPTUN_INVALID_OPTION` or `ERR_SNAPTUN_INVALID_KEY`, which name the option. */
	constructor(options: ServerCoreOptions);
	/** Takes a datagram that arrived from an address. Throws `ERR_SNAPTUN_INVALID_ADDRESS` for what is none. */
	handleIncoming(datagram: Uint8Array, from: AddressInput): CoreOutput;
	/**
	 * Sends a packet through a tunnel. While there is no session a few packets wait for one; a packet of an identity that
	 * may not pass is dropped and counted. Throws `ERR_SNAPTUN_UNKNOWN_TUNNEL`, `ERR_SNAPTUN_PACKET_EMPTY`.
	 */
	handleOutgoing(tunnel: number, packet: Uint8Array): CoreOutput;
	/** Does what is due: keepalives, handshakes, expiry. To be called after {@link nextTimer}. */
	updateTimers(): CoreOutput;
	/** Milliseconds until {@link updateTimers} is to be called; null while there is nothing to wait for. */
	nextTimer(): number | null;
	/** Lets an identity pass, or replaces until when it may. Throws as `SnapTunServer.authorize`. */
	authorize(identity: KeyInput, terms: AuthorizationTerms): CoreOutput;
	/** Answers the event `authorize` with no. Throws `ERR_SNAPTUN_INVALID_KEY`. */
	refuse(identity: KeyInput): CoreOutput;
	/** Lets an identity pass no more, and closes its tunnels. Throws `ERR_SNAPTUN_INVALID_KEY`. */
	revoke(identity: KeyInput): CoreOutput;
	/** Closes a tunnel; harmless when it is gone. */
	closeTunnel(tunnel: number): CoreOutput;
	/** The counters of `SnapTunServer.stats()` that have nothing to do with sockets and queues. */
	stats(): Readonly<Record<string, number>>;
}
/** An error as Node itself makes them: the `cause` of a {@link SnapTunError} that the operating system gave. */
export interface SystemError extends Error {
	/** `'EADDRINUSE'` and the like. */
	readonly code: string;
	/** The same as a number below 0. */
	readonly errno: number;
	/** `'bind'`, `'send'`, `'recvmsg'`, `'connect'`, `'setsockopt'` and the like. */
	readonly syscall: string;
	/** The IP address that it was about, if it was about one. */
	readonly address?: string;
	/** The port that it was about. */
	readonly port?: number;
}
/** Options of `UdpBatchSocket.bind`. Sizes are in bytes. */
export interface UdpBindOptions {
	/**
	 * Local IP address to receive at, or a host name, which is looked up once. Default: all addresses of `family`,
	 * `'0.0.0.0'` or `'::'`.
	 */
	address?: string;
	/** Local UDP port; 0 lets the system choose. Default: 0. */
	port?: number;
	/** Which addresses a host name is to have, and what the default of `address` is. Default: IPv4 for the latter. */
	family?: "IPv4" | "IPv6";
	/** Whether a socket on an IPv6 address leaves IPv4 alone. Default: false: on `'::'` it takes both. */
	ipv6Only?: boolean;
	/**
	 * Whether other sockets of this user that set it too may bind the same port: the system then spreads datagrams over
	 * them by their sender. Not on Windows. Default: false.
	 */
	reusePort?: boolean;
	/**
	 * Whether other sockets that set it too may bind the same address: all of them get what is sent to a group. What is
	 * sent to one address goes to whichever the system chooses. Default: false.
	 */
	reuseAddr?: boolean;
	/** What the operating system is asked to buffer of what arrives, 4096 to 2^30; it may give less. Default: 4 MiB. */
	receiveBufferSize?: number;
	/** The same for what is sent. Default: 4 MiB. */
	sendBufferSize?: number;
	/**
	 * Bounds of what waits to be read; beyond them datagrams are dropped and counted. Each takes up to 48 bytes beside its
	 * content. Default: 4096 datagrams, 2 MiB; at least 128 KiB are used.
	 */
	receiveQueue?: QueueOptions;
	/** Bounds of what waits to be sent; beyond them `send` waits. Default: 1024 datagrams, 2 MiB. */
	sendQueue?: QueueOptions;
	/** Routers that a datagram may pass, 1 to 255. Default: the system's, mostly 64. */
	ttl?: number;
	/** The same for what is sent to groups, 0 to 255. Default: the system's, mostly 1: the network of this machine. */
	multicastTtl?: number;
	/** Whether what is sent to a group reaches members on this machine too. Default: the system's, mostly true. */
	multicastLoopback?: boolean;
	/** Whether datagrams to broadcast addresses may be sent. Default: false. */
	broadcast?: boolean;
	/** Gives up binding, before the promise settles: it rejects with the signal's reason. */
	signal?: AbortSignal | undefined;
}
/** What `UdpBatchSocket.stats()` returns. Counters only grow; what is a level and not a counter says so. */
export interface UdpStats {
	/** Datagrams that were put into the receive queue. */
	readonly datagramsReceived: number;
	/** Bytes of their content. */
	readonly bytesReceived: number;
	/** System calls that took: with GRO one brings many datagrams. */
	readonly receiveCalls: number;
	/** Datagrams handed to the operating system. */
	readonly datagramsSent: number;
	/** Bytes of their content. */
	readonly bytesSent: number;
	/** System calls that took: with GSO one carries many datagrams. */
	readonly sendCalls: number;
	/** Datagrams dropped because the receive queue was full. */
	readonly droppedReceiveQueueFull: number;
	/** Datagrams from another address than that to which the socket is connected. */
	readonly droppedForeign: number;
	/** Datagrams that the operating system refused to send: too large for the path, no route, not permitted. */
	readonly droppedBySystem: number;
	/**
	 * Datagrams of a batch that could not be sent to their target: its port is 0, it is of a family that the socket has
	 * not, or the datagram is larger than that family's carry.
	 */
	readonly droppedImpossible: number;
	/** Errors of receiving from the socket; see the event `error`. */
	readonly socketErrors: number;
	/** Datagrams in the receive queue now: a level. */
	readonly receiveQueueDatagrams: number;
	/** Datagrams in the send queue now: a level. */
	readonly sendQueueDatagrams: number;
	/**
	 * What the operating system buffers for receiving, in bytes: a level, and 0 when the socket is closed. Linux says twice
	 * what it was asked for, and gives no more than `net.core.rmem_max`. What does not fit is lost without being counted
	 * here (`RcvbufErrors` in `/proc/net/snmp`).
	 */
	readonly socketReceiveBufferBytes: number;
	/** The same for sending; on Linux `net.core.wmem_max`. */
	readonly socketSendBufferBytes: number;
}
/** Events of {@link UdpBatchSocket}. */
export interface UdpBatchSocketEvents {
	/**
	 * The operating system refused datagrams after `send` had settled, or those of a batch: so many were dropped, for this
	 * and for like errors. Or nobody listens where a connected socket sends to (`ERR_SNAPTUN_REFUSED`): then it is 0. The
	 * socket goes on. Where nobody listens for this event, it is only counted: such an error ends no process.
	 */
	error: [
		error: SnapTunError,
		dropped: number
	];
	/** The last event. With an error unless `close()` was called. */
	close: [
		error: SnapTunError | undefined
	];
}
/**
 * A UDP socket that moves many datagrams in one call, and in one system call: for QUIC, DNS, telemetry and games. Nothing
 * is encrypted. Datagrams are not fragmented: one that is too large for its path is refused (`ERR_SNAPTUN_PACKET_TOO_LARGE`).
 *
 * Errors that the operating system gave have the error of `node:dgram` as their `cause`: see {@link SystemError}.
 *
 * An open socket keeps the process alive, see {@link unref}. A closed one stays closed: every later call fails with the
 * same coded error.
 */
export declare class UdpBatchSocket extends EventEmitter<UdpBatchSocketEvents> implements AsyncDisposable {
	#private;
	/** Bytes that a datagram may have at most. A path may take less, without fragmentation: mostly 1472 or 1452. */
	readonly maxDatagramSize: number;
	private constructor();
	/**
	 * Binds a socket. Rejects, leaving nothing behind, with `ERR_SNAPTUN_INVALID_OPTION` or `ERR_SNAPTUN_INVALID_ADDRESS`,
	 * which name the option; with `ERR_SNAPTUN_LOOKUP` for a host that is not found; with `ERR_SNAPTUN_ADDRESS_IN_USE`,
	 * `ERR_SNAPTUN_ADDRESS_UNAVAILABLE`, `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO`; or with the reason of
	 * `options.signal`.
	 */
	static bind(options?: UdpBindOptions): Promise<UdpBatchSocket>;
	/**
	 * The local address, with the port that the system chose if it was to; of a connected socket that of the route. When
	 * it is closed, what it was bound to.
	 */
	address(): SocketAddress;
	/** The address that it is connected to; undefined when it is not. */
	get remoteAddress(): SocketAddress | undefined;
	/** Whether the socket was closed, or ended by an error. */
	get closed(): boolean;
	/**
	 * Sends to one address from now on, and receives from it alone. A host name is looked up once. On Linux the socket then
	 * also hears when nobody listens there: see the event `error`. What arrived before can still be read. Rejects with
	 * `ERR_SNAPTUN_CONNECTED`, `ERR_SNAPTUN_INVALID_ADDRESS`, `ERR_SNAPTUN_LOOKUP`, `ERR_SNAPTUN_UNREACHABLE`,
	 * `ERR_SNAPTUN_PERMISSION`, `ERR_SNAPTUN_IO`, `ERR_SNAPTUN_CLOSED`, or with the reason of `options.signal`.
	 */
	connect(remote: AddressInput, options?: WaitOptions): Promise<void>;
	/** Undoes {@link connect}. Throws `ERR_SNAPTUN_NOT_CONNECTED`, `ERR_SNAPTUN_IO` or `ERR_SNAPTUN_CLOSED`. */
	disconnect(): void;
	/**
	 * Sends a datagram, which may be empty, to an IP address and port; without these on a connected socket. Settles when
	 * native has taken it, always with `'sent'`, which is at once while there is room; it must not change before. Rejects with
	 * `ERR_SNAPTUN_NOT_CONNECTED`, `ERR_SNAPTUN_CONNECTED` (when there is a target too many), `ERR_SNAPTUN_INVALID_ADDRESS`,
	 * `ERR_SNAPTUN_INVALID_PACKET`, `ERR_SNAPTUN_PACKET_TOO_LARGE`, `ERR_SNAPTUN_TOO_MANY_SENDS`, `ERR_SNAPTUN_CLOSED`, with the
	 * reason of `options.signal`, which takes the datagram back; and, if it could be sent at once and the operating system
	 * refused it, with `ERR_SNAPTUN_UNREACHABLE`, `ERR_SNAPTUN_PERMISSION` or `ERR_SNAPTUN_IO`.
	 */
	send(data: Uint8Array, to?: DatagramTarget, options?: DatagramSendOptions): Promise<SendOutcome>;
	/** Sends a datagram if there is room at once, and says whether it was taken. Throws as {@link send} rejects. */
	trySend(data: Uint8Array, to?: DatagramTarget, options?: DatagramSendOptions): boolean;
	/**
	 * Sends many datagrams, in their order: an array, or `{ data, size }` (the fastest), to one target or to one each; on a
	 * connected socket without any. Settles when native has taken all; until then they must not change. What the operating
	 * system refuses is counted, and told by the event `error`. Rejects as {@link send} does for what can be known
	 * beforehand, and sends nothing then; but what was taken before `options.signal` aborts, or before the socket closes,
	 * is sent.
	 */
	sendBatch(datagrams: readonly Uint8Array[] | PacketSegments, to?: DatagramTarget | readonly DatagramTarget[], options?: DatagramSendOptions): Promise<BatchOutcome>;
	/** As above, where each datagram says where it goes. */
	sendBatch(datagrams: readonly AddressedDatagram[], to?: undefined, options?: DatagramSendOptions): Promise<BatchOutcome>;
	/**
	 * Sends a batch that was received, from whomever, straight from native memory, also what was changed in it: to one
	 * target, or without one each datagram back to who sent it (from the address that it was sent to, if the socket is bound
	 * to all). The next turn of the iterator waits for that. Rejects with `ERR_SNAPTUN_BATCH_RELEASED` too.
	 */
	sendBatch(batch: PacketBatch, to?: DatagramTarget, options?: DatagramSendOptions): Promise<BatchOutcome>;
	/**
	 * The next datagram, a copy to keep. Calls that wait are served in their order. Rejects with `ERR_SNAPTUN_CLOSED`, with
	 * `ERR_SNAPTUN_BUSY` while somebody iterates over {@link batches}, or with the reason of `options.signal`; no datagram is
	 * lost by that.
	 */
	recv(options?: WaitOptions): Promise<Datagram>;
	/** The next datagram, a copy to keep, or null when none is there at this moment. Throws as {@link recv} rejects. */
	tryRecv(): Datagram | null;
	/**
	 * Iterates over datagrams as they lie in native memory, many at a time: the fastest way to receive. A batch is valid
	 * until the next turn. One iterator at a time, and nobody receives beside it (`ERR_SNAPTUN_BUSY`). Ends when the socket
	 * is closed.
	 */
	batches(): AsyncIterableIterator<DatagramBatch, undefined, undefined>;
	/** Iterates over copies of datagrams; as {@link recv}, and ends when the socket is closed. */
	[Symbol.asyncIterator](): AsyncIterableIterator<Datagram, undefined, undefined>;
	/**
	 * Joins a multicast group, on the interface that has the address `on` (for IPv6 `'::%eth0'` or `'::%2'`), or that the
	 * system chooses. Throws `ERR_SNAPTUN_INVALID_ADDRESS`, `ERR_SNAPTUN_ADDRESS_IN_USE` (a member already), `ERR_SNAPTUN_IO` and the
	 * other codes of the operating system's errors, or `ERR_SNAPTUN_CLOSED`. So do the calls below.
	 */
	addMembership(group: string, on?: string): void;
	/** Leaves a multicast group; `ERR_SNAPTUN_ADDRESS_UNAVAILABLE` when it is no member. */
	dropMembership(group: string, on?: string): void;
	/** Chooses the interface that datagrams to groups leave through; named as in {@link addMembership}. */
	setMulticastInterface(on: string): void;
	/** Whether datagrams to groups reach members on this machine too. */
	setMulticastLoopback(on: boolean): void;
	/** Routers that datagrams to groups may pass, 0 to 255. */
	setMulticastTTL(ttl: number): void;
	/** Routers that other datagrams may pass, 1 to 255. */
	setTTL(ttl: number): void;
	/** Whether datagrams to broadcast addresses may be sent. */
	setBroadcast(on: boolean): void;
	/** What the operating system buffers of what arrives, 4096 to 2^30; it may give less, see {@link UdpStats}. */
	setRecvBufferSize(bytes: number): void;
	/** The same for what is sent. */
	setSendBufferSize(bytes: number): void;
	/** Counters; see {@link UdpStats}. They stay readable after the end. */
	stats(): UdpStats;
	/** Keeps the process alive while the socket is open, which is the default. */
	ref(): this;
	/** Lets the process exit although the socket is open. */
	unref(): this;
	/**
	 * Closes the socket; settles when it is released. What was taken is sent, as far as the system takes it at once; what
	 * waits rejects with `ERR_SNAPTUN_CLOSED`, iterators end, and datagrams that were not read are dropped. Never rejects;
	 * harmless when repeated.
	 */
	close(): Promise<void>;
	/** As {@link close}. */
	[Symbol.asyncDispose](): Promise<void>;
}

export {};
