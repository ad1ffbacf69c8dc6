import { readFileSync } from 'node:fs'
import path from 'node:path'
import { SnapTunError, type SnapTunErrorCode } from 'snaptun'
import { expect, it } from 'vitest'

const read = (file: string): string => readFileSync(path.join(__dirname, '..', file), 'utf8')

it('docs/errors.md lists every code, and says rightly whether it is transient', () => {
  const rows = Array.from(read('docs/errors.md').matchAll(/^\| `(ERR_SNAPTUN_\w+)` \| (yes|no) \| \S/gm))
  const documented = rows.map(([, code, transient]) => [code, transient === 'yes'])
  const codes = new Set(read('index.d.ts').match(/ERR_SNAPTUN_[A-Z_]+(?=")/g))
  const actual = Array.from(codes, (code) => [code, new SnapTunError(code as SnapTunErrorCode, '').transient])
  expect(documented.length).toBeGreaterThan(20)
  expect(new Map(documented as [string, boolean][])).toEqual(new Map(actual as [string, boolean][]))
  expect(documented.length).toBe(codes.size)
})
