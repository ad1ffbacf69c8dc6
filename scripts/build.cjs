// The stages that `npm start` and `npm test` share: install, build the addon, compile TypeScript.
'use strict'

const fs = require('node:fs')
const Module = require('node:module')
const path = require('node:path')
const { MINUTE, Stages } = require('./stages.cjs')

/** How to run npm: the one that runs us, when one does. */
function npm(...args) {
  const running = process.env.npm_execpath
  if (running && path.basename(running) === 'npm-cli.js') {
    return { command: [process.execPath, running, ...args], shell: false }
  }
  // On Windows npm is a batch file, which only a shell runs; the arguments are our own words, nothing to quote.
  return { command: ['npm', ...args], shell: process.platform === 'win32' }
}

/** Whether what is installed is what the lockfile says; npm writes its own copy there as the last thing it does. */
function installed(root) {
  const modified = (file) => fs.statSync(path.join(root, file), { throwIfNoEntry: false })?.mtimeMs
  return modified('node_modules/.package-lock.json') >= modified('package-lock.json')
}

/** Installs the development dependencies unless they are there. Resolves to whether they are. */
async function install(stages, root) {
  const title = 'installing npm packages'
  if (installed(root)) {
    stages.skip(title, 'nothing to do')
    return true
  }
  // No dependency needs its install scripts. What the environment says to leave out (NODE_ENV=production) is needed here.
  const { command, shell } = npm(
    'ci',
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--no-audit',
    '--no-fund',
  )
  return (await stages.run(title, command, { cwd: root, shell })).ok
}

/** Builds the addon for this machine, in release. */
async function buildNative(stages, root) {
  const { command, shell } = npm('run', '--silent', 'build:native')
  return (await stages.run('building the addon (release)', command, { cwd: root, shell, timeout: 25 * MINUTE })).ok
}

/** Compiles TypeScript into dist/. */
async function buildTypeScript(stages, root) {
  const { command, shell } = npm('run', '--silent', 'build:ts')
  return (await stages.run('compiling TypeScript', command, { cwd: root, shell })).ok
}

/** Builds all and runs the demonstration with `args`. */
async function start(root, args) {
  const stages = new Stages(3)
  for (const stage of [install, buildNative, buildTypeScript]) {
    if (!(await stage(stages, root))) {
      process.exitCode = 1
      return
    }
  }
  stages.end()
  // In this very process, as if it had been named on the command line: signals, the terminal and the
  // exit code are the demonstration's own, with nothing in between that could lose them.
  process.argv = [process.argv[0], path.join(root, 'dist/demo/main.js'), ...args]
  Module.runMain()
}

module.exports = { buildNative, buildTypeScript, install, start }
