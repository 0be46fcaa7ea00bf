/**
 * A daemon that keeps Temporal running: `node examples/daemon.mjs` (`--port=N`, `--state-dir=DIR`)
 *
 * After a crash it is back at once. `node examples/temporal-cli.mjs stop` is respected, and `start` wakes the daemon again.
 * Ctrl-C or `kill` ends the daemon, and Temporal with it. Killed with SIGKILL, it takes along what it has started itself.
 */
// @ts-check
import { parseArgs } from 'node:util';
import { ProcessManager, temporalDevServer } from 'flock-process';

const { values } = parseArgs({ options: { port: { type: 'string' }, 'state-dir': { type: 'string' } } });

const temporal = new ProcessManager(
  temporalDevServer({
    lifetime: 'tied',
    ...(values.port !== undefined && { port: Number(values.port) }),
    ...(values['state-dir'] !== undefined && { stateDir: values['state-dir'] }),
  }),
);

temporal.on('ready', ({ pid, address }) => console.log(`Temporal is ready on ${address}, PID ${pid}`));
temporal.on('exit', ({ pid, exitCode, signal }) => console.log(`PID ${pid} ended: ${signal ?? exitCode}`));
temporal.on('restarting', ({ attempt, delayMs }) => console.log(`restart ${attempt} in ${Math.round(delayMs)} ms`));

// The library installs no signal handlers, so the daemon decides what signals mean.
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => ending.abort());

const supervisor = temporal.supervise({ signal: ending.signal });
await supervisor.done; // rejects with CrashLoopError when it gave up
await temporal.stop();
console.log('the daemon ends');
