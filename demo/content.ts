/**
 * The content that a client sends: its files, one behind the other and over again.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs'

/** More would not fit into the memory of every machine: each client holds all of its files. */
export const MOST_CONTENT = 2 ** 30

/** Bytes asked for in one call; Linux gives less than 2 GiB at a time. */
const PIECE = 2 ** 28

/** The content, with a margin at its end. */
export interface Content {
  /** The content, then its beginning again, so that a piece that runs over the end still lies in one place. */
  readonly bytes: Buffer
  /** Bytes of content, without the margin. */
  readonly length: number
}

function readInto(bytes: Buffer, at: number, end: number, file: string): void {
  const descriptor = openSync(file, 'r')
  try {
    while (at < end) {
      const count = readSync(descriptor, bytes, at, Math.min(end - at, PIECE), null)
      if (count === 0) throw new Error(`${file} became shorter while it was read`)
      at += count
    }
  } finally {
    closeSync(descriptor)
  }
}

/** Reads the files. Pieces of up to `piece` bytes can be taken at any offset within the content. */
export function readContent(files: readonly string[], piece: number): Content {
  const sizes = files.map((file) => statSync(file).size)
  const length = sizes.reduce((sum, size) => sum + size, 0)
  const bytes = Buffer.allocUnsafeSlow(length + piece)
  let at = 0
  files.forEach((file, i) => {
    const end = at + (sizes[i] as number)
    readInto(bytes, at, end, file)
    at = end
  })
  // A small file may be repeated several times: what was repeated already is copied, too.
  while (at < bytes.length) at += bytes.copy(bytes, at, 0, at)
  return { bytes, length }
}

/** Whether a file can be sent: what is wrong with it, or its size in bytes. */
export function checkFile(file: string): string | number {
  try {
    const stats = statSync(file)
    if (!stats.isFile()) return 'is not a file'
    closeSync(openSync(file, 'r'))
    return stats.size > 0 ? stats.size : 'is empty'
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return 'does not exist'
    return code === 'EACCES' ? 'may not be read' : `can't be read: ${message}`
  }
}
