/**
 * Runs before all tests: they test what is in dist/, so that must be what src/ says.
 */
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'

const root = path.join(__dirname, '..')

function newest(folder: string): number {
  return Math.max(...readdirSync(folder).map((name) => statSync(path.join(folder, name)).mtimeMs))
}

export default function setup(): void {
  const index = statSync(path.join(root, 'dist/index.js'), { throwIfNoEntry: false })
  if (index === undefined || index.mtimeMs < newest(path.join(root, 'src'))) {
    throw new Error('dist/ is missing or older than src/. Type: npm run build:ts')
  }
}
