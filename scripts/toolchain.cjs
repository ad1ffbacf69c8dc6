// What `npm start` and `npm test` need before they can do anything: Node, cargo, a C compiler.
//
// Written in ES5 and without dependencies: this file must run on the very Node that is too old, to
// be able to say so.
'use strict'

var childProcess = require('child_process')
var fs = require('fs')
var path = require('path')
var format = require('util').format

var RUST_SITE = 'https://rustup.rs'
var NODE_SITE = 'https://nodejs.org'

// A rustup proxy may fetch a toolchain at its first call; a tool that has hung is not waited for longer.
var PROBE_TIMEOUT = 120000

/** Whether the dotted version `have` is at least `minimum`; parts that are missing count as 0. */
function atLeast(have, minimum) {
  var a = have.split('.')
  var b = minimum.split('.')
  for (var i = 0; i < b.length; i++) {
    var difference = (parseInt(a[i], 10) || 0) - (parseInt(b[i], 10) || 0)
    if (difference !== 0) return difference > 0
  }
  return true
}

function lowestVersion(pattern, text, file) {
  var match = pattern.exec(text)
  if (!match) throw new Error('No lowest version in ' + file)
  return match[1]
}

/** The lowest Rust that the crates compile with, from the text of the workspace's Cargo.toml. */
function lowestRust(cargoToml) {
  return lowestVersion(/^\s*rust-version\s*=\s*"([\d.]+)"/m, cargoToml, 'Cargo.toml')
}

/** The lowest Node that the package runs on, from the text of package.json. */
function lowestNode(packageJson) {
  return lowestVersion(/>=\s*([\d.]+)/, JSON.parse(packageJson).engines.node, 'package.json')
}

/** One sentence that says what to install, or null. `have` is as in `process.versions.node`. */
function nodeProblem(have, lowest) {
  if (atLeast(have, lowest)) return null
  return format(
    'snaptun needs Node.js %s or newer and this is %s: install a newer one from %s.',
    lowest,
    have,
    NODE_SITE
  )
}

/** The same for cargo; `probe` is what `spawnSync('cargo', ['--version'])` returned. */
function cargoProblem(probe, lowest) {
  var needs = format('snaptun needs Rust %s or newer to build its native part', lowest)
  if (probe.error && probe.error.code === 'ENOENT') {
    return format('%s and there is no cargo on the PATH: install Rust from %s.', needs, RUST_SITE)
  }
  var version = /^cargo (\d[\d.]*)/.exec(String(probe.stdout))
  if (probe.status !== 0 || !version) {
    // Most often the proxy that rustup puts on the PATH, with no toolchain behind it.
    return format(
      '%s and the cargo on the PATH does not run: install a toolchain with `rustup default stable`, or Rust from %s.',
      needs,
      RUST_SITE
    )
  }
  if (atLeast(version[1], lowest)) return null
  return format(
    '%s and the cargo on the PATH is %s: update it with `rustup update stable`, or install Rust from %s.',
    needs,
    version[1],
    RUST_SITE
  )
}

/** The same for the C compiler: Rust links with it, and the cryptography has C in it. */
function compilerProblem(probe, platform) {
  if (!probe.error && probe.status === 0) return null
  return format(
    'snaptun needs a C compiler (`cc`) to build its native part and there is none that runs: install one with %s.',
    platform === 'darwin'
      ? '`xcode-select --install`'
      : "your system's package manager (Debian and Ubuntu: `apt install build-essential`)"
  )
}

/** The first thing that is missing, as a sentence, or null when all is there. */
function findProblem(root) {
  var problem = nodeProblem(process.versions.node, lowestNode(fs.readFileSync(path.join(root, 'package.json'), 'utf8')))
  if (problem) return problem
  var probe = function (command) {
    return childProcess.spawnSync(command, ['--version'], { cwd: root, encoding: 'utf8', timeout: PROBE_TIMEOUT })
  }
  problem = cargoProblem(probe('cargo'), lowestRust(fs.readFileSync(path.join(root, 'Cargo.toml'), 'utf8')))
  if (problem) return problem
  // On Windows cargo finds Visual Studio's compiler in the registry, not on the PATH, and says itself what to install.
  return process.platform === 'win32' ? null : compilerProblem(probe(process.env.CC || 'cc'), process.platform)
}

/** Ends the process with one sentence when something is missing. */
function requireToolchain(root) {
  var problem = findProblem(root)
  if (problem) {
    console.error(problem)
    process.exit(1)
  }
}

module.exports = {
  cargoProblem: cargoProblem,
  compilerProblem: compilerProblem,
  lowestNode: lowestNode,
  lowestRust: lowestRust,
  nodeProblem: nodeProblem,
  requireToolchain: requireToolchain,
}
