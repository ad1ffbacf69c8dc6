// Writes index.d.ts, the types that users get: one file, bundled from src/index.ts.
// With --check it only says whether the committed file is what src/ gives now, by its exit code.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { generateDtsBundle } from 'dts-bundle-generator'

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url))

const [bundle] = generateDtsBundle(
  [
    {
      filePath: path('src/index.ts'),
      output: { noBanner: true, exportReferencedTypes: false, sortNodes: false },
      failOnClass: false,
    },
  ],
  { preferredConfigPath: path('tsconfig.json') },
)
const text = `// Generated from src/ by scripts/types.mjs; not to be edited.\n${bundle}`

const target = path('index.d.ts')
if (process.argv.includes('--check')) {
  let committed
  try {
    committed = readFileSync(target, 'utf8')
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
  if (committed !== text) {
    console.error('index.d.ts is not what src/ says. Type: npm run types')
    process.exitCode = 1
  }
} else {
  writeFileSync(target, text)
}
