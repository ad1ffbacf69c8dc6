/**
 * What `npm start` runs: a server and clients in processes of their own, which exchange the content of files through
 * tunnels while this process shows how that goes. `--help` explains.
 */
import { Demonstration } from './demonstration.js'
import { HELP, type Options, readOptions, UsageError } from './options.js'

function read(): Options | undefined {
  try {
    const options = readOptions(process.argv.slice(2))
    if (options !== undefined) return options
    process.stdout.write(HELP)
    process.exitCode = 0
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`${error.message} (npm start -- --help explains)\n`)
    process.exitCode = 2
  }
  return undefined
}

async function main(): Promise<void> {
  const options = read()
  if (options === undefined) return
  let demonstration: Demonstration | undefined
  // Ctrl-C may come twice, from the terminal and from npm; the second must not cut the first short.
  const stop = (): void => demonstration?.stop()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, stop)
  // Whoever reads our output may leave (`| head`): then nobody is left to do this for.
  process.stdout.on('error', stop)
  demonstration = new Demonstration(options)
  process.exitCode = (await demonstration.run()) ? 0 : 1
  for (const signal of signals) process.removeListener(signal, stop)
}

void main()
