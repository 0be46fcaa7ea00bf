/**
 * A background Temporal, each command a process of its own: `node examples/temporal-cli.mjs COMMAND`
 *
 *     start      make sure it runs, and return when a workflow can be started
 *     stop       end it, whoever started it
 *     restart    stop and start; its database stays
 *     status     what is known of it; exit code 0 when it is running, else 3
 *     logs       the last lines of its log (--lines=50)
 *
 * Options: --state-dir=DIR (~/.stigmer)   --port=N (7233)   --command=FILE (the `temporal` to run)
 */
// @ts-check
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { EarlyExitError, ProcessManager, StartTimeoutError, temporalDevServer } from 'flock-process';

/** @type {Record<string, (temporal: ProcessManager, options: { signal: AbortSignal, lines: number }) => Promise<void>>} */
const commands = { start, stop, restart, status, logs };

// Ctrl-C gives up what is under way: a start that is given up leaves nothing behind.
const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort());

try {
  const { command, temporal, lines } = readCommandLine();
  await command(temporal, { signal: interruption.signal, lines });
} catch (error) {
  process.exitCode = interruption.signal.aborted ? 130 : 1;
  if (!interruption.signal.aborted) explain(error);
}

function readCommandLine() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'state-dir': { type: 'string' },
      port: { type: 'string' },
      command: { type: 'string' },
      lines: { type: 'string', default: '20' },
    },
  });
  const command = commands[positionals[0] ?? ''];
  if (command === undefined) throw new Error(`Usage: temporal-cli.mjs ${Object.keys(commands).join(' | ')}`);
  // A manager is a description: making one touches nothing, and every command makes the same one.
  const spec = temporalDevServer({
    ...(values['state-dir'] !== undefined && { stateDir: values['state-dir'] }),
    ...(values.port !== undefined && { port: Number(values.port) }),
    ...(values.command !== undefined && { command: values.command }),
  });
  return { command, temporal: new ProcessManager(spec), lines: Number(values.lines) };
}

/** @param {ProcessManager} temporal @param {{ signal: AbortSignal }} options */
async function start(temporal, { signal }) {
  const { result, seconds } = await withProgress('Starting Temporal', temporal, temporal.start({ signal }));
  if (result.reused) {
    console.log(`Temporal is already running (lock file held by another process), PID ${result.pid}`);
  } else {
    console.log(`Temporal is ready on ${result.address} after ${seconds} s, PID ${result.pid}`);
  }
}

/** @param {ProcessManager} temporal @param {{ signal: AbortSignal }} options */
async function stop(temporal, { signal }) {
  const { result, seconds } = await withProgress('Stopping Temporal', temporal, temporal.stop({ signal }));
  const messages = {
    'not-running': 'Temporal is not running',
    stopped: `Temporal is stopped, after ${seconds} s`,
    killed: `Temporal did not stop when asked, and was killed after ${seconds} s`,
  };
  console.log(messages[result.outcome]);
}

/** @param {ProcessManager} temporal @param {{ signal: AbortSignal }} options */
async function restart(temporal, { signal }) {
  const { result, seconds } = await withProgress('Restarting Temporal', temporal, temporal.restart({ signal }));
  console.log(`Temporal is ready again on ${result.address} after ${seconds} s, PID ${result.pid}`);
}

/** @param {ProcessManager} temporal */
async function status(temporal) {
  const { state, pid, address, startedAt, usage, checks, ...told } = await temporal.status({ usage: true });
  const { differences, lastExit, restarts, supervisor } = told;
  const last = (await temporal.history()).findLast(({ event }) => event === 'start' || event === 'stop');
  console.log(`Temporal is ${state}`);
  const details = {
    PID: pid,
    address: address,
    since: startedAt?.toLocaleString(),
    usage: usage && `${usage.cpu} % of a core, ${usage.memory} % of the memory`,
    differs: differences.length > 0 ? `${differences.join(', ')}: \`restart\` takes them over` : undefined,
    'kept by': supervisor && `PID ${supervisor.pid}, ${supervisor.state}, ${restarts} restarts`,
    error: supervisor?.lastError,
    'last end': lastExit && `PID ${lastExit.pid} at ${time(lastExit.at)}: ${lastExit.signal ?? lastExit.exitCode}`,
    'stopped by': last?.event === 'stop' ? `${last.program} (PID ${last.by}) at ${time(last.at)}` : undefined,
    lock: temporal.spec.lockFile,
    log: temporal.spec.logFile,
    checks: describeChecks(checks),
  };
  for (const [name, value] of Object.entries(details)) {
    if (value !== undefined) console.log(`  ${name.padEnd(12)}${value}`);
  }
  if (state !== 'running') process.exitCode = 3;
}

/** @param {ProcessManager} temporal @param {{ lines: number }} options */
async function logs(temporal, { lines }) {
  for (const line of await temporal.logTail(lines)) console.log(line);
}

/** @param {Date} date */
function time(date) {
  return date.toLocaleTimeString();
}

/** The layers in the order they were asked; undefined: not reached. @param {import('flock-process').Status['checks']} checks */
function describeChecks(checks) {
  return Object.entries(checks)
    .filter(([, passed]) => passed !== undefined)
    .map(([layer, passed]) => `${layer} ${passed ? '✔' : '✖'}`)
    .join('  ');
}

/** The messages are written for users: what failed, why, and the next step (how to install Temporal, for one). @param {unknown} error */
function explain(error) {
  console.error(error instanceof Error ? error.message : error);
  if (error instanceof EarlyExitError || error instanceof StartTimeoutError) console.error(error.logTail.join('\n'));
}

/**
 * A line that counts the time, and says whom a start waits for; on a terminal only.
 * @template T @param {string} what @param {ProcessManager} temporal @param {Promise<T>} work
 */
async function withProgress(what, temporal, work) {
  const begin = performance.now();
  let waits = '';
  const onWaiting = (/** @type {import('flock-process').ProcessManagerEvents['waiting'][0]} */ waiting) => {
    const reasons = {
      prepare: 'it is prepared',
      stop: 'it is stopped',
      port: 'its port is in use',
      ready: 'it is not ready yet',
    };
    waits = `, ${reasons[waiting.for]}${waiting.pid === undefined ? '' : ` (PID ${waiting.pid})`}`;
  };
  temporal.on('waiting', onWaiting);
  const seconds = () => ((performance.now() - begin) / 1000).toFixed(1);
  const over = new AbortController();
  const line = process.stderr.isTTY ? showLine(() => `${what} … ${seconds()} s${waits}`, over.signal) : undefined;
  try {
    return { result: await work, seconds: seconds() };
  } finally {
    over.abort();
    temporal.off('waiting', onWaiting);
    await line;
  }
}

/** @param {() => string} text @param {AbortSignal} over */
async function showLine(text, over) {
  while (!over.aborted) {
    process.stderr.write(`\r${text()}\x1b[K`);
    await delay(100, undefined, { signal: over }).catch(() => undefined);
  }
  process.stderr.write('\r\x1b[K');
}
