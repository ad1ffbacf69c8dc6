/**
 * As much of Protobuf's wire format as the messages of control planes need, whose fields are all bytes or text.
 */

/** Bits of a tag that say how its field is written; the others are the field's number. */
const WIRE_TYPES = 8
const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

/** Bytes of a number of 64 bits, which is the longest that there is. */
const MAX_VARINT = 10

/** Writes a message of fields that are bytes: number and content. */
export function encodeMessage(fields: readonly (readonly [number: number, content: Uint8Array])[]): Uint8Array {
  return Buffer.concat(
    fields.flatMap(([number, content]) => [varint(number * WIRE_TYPES + BYTES), varint(content.length), content]),
  )
}

/**
 * Reads the fields of a message that are bytes, by their numbers: of several with one number the last, as Protobuf
 * says. Others are passed over: a newer control plane may say more. Views of the message; throws RangeError for what is
 * none.
 */
export function decodeMessage(message: Uint8Array): Map<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>()
  const input = new Input(message)
  while (!input.isAtEnd) {
    const tag = input.varint()
    const number = Math.floor(tag / WIRE_TYPES)
    if (number === 0) throw new RangeError('a field has the number 0')
    switch (tag % WIRE_TYPES) {
      case VARINT:
        input.varint()
        break
      case FIXED64:
        input.take(8)
        break
      case BYTES:
        fields.set(number, input.take(input.varint()))
        break
      case FIXED32:
        input.take(4)
        break
      default:
        throw new RangeError(`field ${number} is written in a way that there is not`)
    }
  }
  return fields
}

/** A number, seven bits a byte, the lowest first. */
function varint(value: number): Uint8Array {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128)
  bytes.push(value)
  return Uint8Array.from(bytes)
}

/** A message that is being read. */
class Input {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw new RangeError('it ends in the middle of a field')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  /** Beyond 2^53 not exact, which is of no matter: no length that large fits, and no field has such a number. */
  varint(): number {
    let value = 0
    for (let i = 0; i < MAX_VARINT; i++) {
      const byte = this.take(1)[0] as number
      value += (byte % 128) * 128 ** i
      if (byte < 128) return value
    }
    throw new RangeError('a number has no end')
  }
}
