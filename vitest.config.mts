import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: {
    // The package as users get it: compiled, and loaded by Node itself.
    alias: { snaptun: fileURLToPath(new URL('dist/index.js', import.meta.url)) },
  },
  test: {
    include: ['__test__/**/*.test.ts'],
    globalSetup: ['__test__/compiled.ts'],
    pool: 'forks',
    testTimeout: 15_000,
    hookTimeout: 15_000,
    server: { deps: { external: [/\/dist\//] } },
  },
})
