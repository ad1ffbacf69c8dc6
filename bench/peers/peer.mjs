/**
 * What a JavaScript peer says and hears: its task as JSON on the command line, lines of JSON on standard output, and the
 * end of standard input as the sign to end. The harness over `snap-tun` speaks the same.
 */

/** A peer that nobody ends must not stay behind: the runner may have been killed. */
const LIFETIME = 15 * 60_000

/** The task, as the runner gave it. A client ends at once when it is told to, which is after its report or never. */
export function task() {
  setTimeout(() => process.exit(3), LIFETIME).unref()
  const options = JSON.parse(process.argv[2])
  if (options.role === 'client') toldToEnd().then(() => process.exit())
  return options
}

/** Says something to the runner. */
export function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

/** Settles when standard input ends. */
export function toldToEnd() {
  return new Promise((resolve) => {
    process.stdin.once('end', resolve)
    process.stdin.once('error', resolve)
    process.stdin.resume()
  })
}
