/**
 * How a packet becomes a datagram: as it is, or sealed with what `node:crypto` has.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'

const ALGORITHM = 'chacha20-poly1305'
const TAG = 16
const NONCE = 12
/** Type, receiver and counter, as in WireGuard: so that both have the same number of bytes on the wire. */
const HEADER = 16
const DATA = 4
/** 2^32. */
const HIGH = 0x1_0000_0000

/** In clear. What is sealed is what `socket.send` takes: one buffer, or several that become one datagram. */
export function clear() {
  return { seal: (packet) => packet, open: (datagram) => datagram }
}

/**
 * ChaCha20-Poly1305 with one key that both sides know; the nonce is the direction and the number of the packet. It is the least that can
 * be called encrypted: no handshake, no change of keys, no window against replays. Node wants one object for each
 * packet, there is no other way to use an AEAD there; the key as bytes is faster than as a KeyObject (measured).
 */
export function sealed(key, role) {
  const options = { authTagLength: TAG }
  const sending = Buffer.alloc(NONCE)
  const receiving = Buffer.alloc(NONCE)
  // No nonce may be used twice with one key, and both sides count from 0 on.
  const fromServer = role === 'server' ? sending : receiving
  fromServer[0] = 1
  let number = 0
  return {
    seal(packet) {
      sending.writeUInt32LE(number >>> 0, 4)
      sending.writeUInt32LE(Math.floor(number++ / HIGH), 8)
      const cipher = createCipheriv(ALGORITHM, key, sending, options)
      const header = Buffer.allocUnsafe(HEADER)
      header.writeUInt32LE(DATA, 0)
      header.writeUInt32LE(0, 4)
      sending.copy(header, 8, 4)
      const body = cipher.update(packet)
      cipher.final()
      // In pieces, for the system to put together: faster than to copy them into one buffer (measured).
      return [header, body, cipher.getAuthTag()]
    },
    /** The packet, or undefined when it is none of ours or was changed. */
    open(datagram) {
      if (datagram.length < HEADER + TAG || datagram[0] !== DATA) return undefined
      datagram.copy(receiving, 4, 8, HEADER)
      const decipher = createDecipheriv(ALGORITHM, key, receiving, options)
      const end = datagram.length - TAG
      decipher.setAuthTag(datagram.subarray(end))
      const packet = decipher.update(datagram.subarray(HEADER, end))
      try {
        decipher.final()
      } catch {
        return undefined
      }
      return packet
    },
  }
}
