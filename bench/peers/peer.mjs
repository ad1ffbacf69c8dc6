/**
 * What a JavaScript peer says and hears: its task as JSON on the command line, lines of JSON on standard output, and the
 * end of standard input as the sign to end. The contenders in Rust speak the same.
 */

/** A peer that nobody ends must not stay behind: the runner may have been killed. */
const LIFETIME = 15 * 60_000

/** Ends this process when what it said is on its way: `process.exit` alone drops what the pipe has not taken yet. */
export function leave(code = 0) {
  process.stdout.write('', () => process.exit(code))
}

/** The task, as the runner gave it. A client ends at once when it is told to, which is after its report or never. */
export function task() {
  setTimeout(() => leave(3), LIFETIME).unref()
  const options = JSON.parse(process.argv[2])
  if (options.role === 'client') toldToEnd().then(() => leave())
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
