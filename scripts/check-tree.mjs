// Checks what is under version control for traces of the machine that it was made on: where a
// lockfile's packages were downloaded from, and paths of somebody's home.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Patterns that must not match, by the files that they are about. */
const rules = [
  { files: /(^|\/)package-lock\.json$/, pattern: /"resolved":/, why: 'a download address, see .npmrc' },
  {
    files: /(^|\/)Cargo\.lock$/,
    pattern: /^source = (?!"registry\+https:\/\/github\.com\/rust-lang\/crates\.io-index"$)/,
    why: 'a crate that is not from crates.io',
  },
  {
    files: /(^|\/)(\.npmrc|\.cargo\/config\.toml)$/,
    pattern: /^\s*(\S*registry|replace-with)\s*=\s*\S*[/"]/,
    why: 'a registry',
  },
  {
    files: /./,
    pattern: /(?<![\w.])(\/(home|Users)\/\w|\/root\/[\w.]|[A-Z]:\\Users\\)/,
    why: 'the path of a home directory',
  },
]

const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean)
let found = 0
for (const file of tracked) {
  if (!existsSync(path.join(root, file))) continue
  const text = readFileSync(path.join(root, file), 'utf8')
  if (text.includes('\0')) continue
  const checks = rules.filter((rule) => rule.files.test(file))
  text.split('\n').forEach((line, index) => {
    for (const { pattern, why } of checks) {
      if (!pattern.test(line)) continue
      console.error(`${file}:${index + 1}: ${why}: ${line.trim().slice(0, 160)}`)
      found++
    }
  })
}
console.log(`${tracked.length} files, ${found} problems`)
process.exitCode = found > 0 || tracked.length === 0 ? 1 : 0
