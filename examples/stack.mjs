/**
 * A small stack in the background, each command a process of its own: `node examples/stack.mjs COMMAND`
 *
 *     up        start what is not running, and return when all is ready (--foreground: keep it running until Ctrl-C)
 *     down      end all of it, whoever started it
 *     status    a line for each part; exit code 0 when all that must run is running, else 3
 *     logs      the last lines of all logs (-f: and each new one)
 *     reset     down, and delete what it keeps
 *
 * Options: --state-dir=DIR (~/.stack)   --port=N (of Temporal, 7233)
 */
// @ts-check
import { rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ProcessManager, temporalDevServer, withLock } from 'flock-process';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'state-dir': { type: 'string', default: join(homedir(), '.stack') },
    port: { type: 'string', default: '7233' },
    foreground: { type: 'boolean', default: false },
    follow: { type: 'boolean', short: 'f', default: false },
  },
});
const stateDir = values['state-dir'];

/** The program of a server that chooses its own port and prints it. */
const API = `const server = require('node:http').createServer((_, response) => response.end('hello'));
server.listen(0, '127.0.0.1', () => console.log('listening on port ' + server.address().port));`;
const METRICS = "setInterval(() => console.log('up for ' + Math.round(process.uptime()) + ' s'), 1000)";
const own = { command: process.execPath, stateDir };

/** The parts are started in this order, and stopped in the opposite one. Making a manager changes nothing: it is only a description. */
const parts = [
  new ProcessManager(temporalDevServer({ stateDir, port: Number(values.port) })),
  new ProcessManager({ ...own, name: 'api', args: ['--eval', API], readyLine: /listening on port (?<port>\d+)/ }),
  new ProcessManager({ ...own, name: 'metrics', args: ['--eval', METRICS] }),
];
const optional = new Set(['metrics']);

/** @type {Record<string, () => Promise<void>>} */
const commands = { up: values.foreground ? runInForeground : up, down, status, logs, reset };

// Ctrl-C gives up what is under way: a start that is given up leaves nothing behind.
const interruption = new AbortController();
const { signal } = interruption;
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => interruption.abort());

try {
  const command = commands[positionals[0] ?? ''];
  if (command === undefined) throw new Error(`Usage: stack.mjs ${Object.keys(commands).join(' | ')}`);
  await command();
} catch (error) {
  process.exitCode = signal.aborted ? 130 : 1;
  if (!signal.aborted) console.error(error instanceof Error ? error.message : error);
}

async function up() {
  for (const part of parts) {
    const { name } = part.spec;
    part.on('waiting', ({ for: what, pid }) => console.error(`${name} waits: ${what}${pid ? ` (PID ${pid})` : ''}`));
    try {
      const { pid, address = '', reused } = await part.start({ signal });
      console.log(`${name} ${reused ? 'runs already' : 'is ready'}, PID ${pid} ${address}`);
    } catch (error) {
      if (!optional.has(name) || signal.aborted) throw error;
      console.error(`going on without ${name}: ${error}`);
    }
  }
}

/** Starts a part again when it crashes, until Ctrl-C or until a required part is given up. */
async function runInForeground() {
  await up();
  const supervised = parts.map((part) => {
    part.on('restarting', ({ attempt }) => console.log(`${part.spec.name}: restart ${attempt}`));
    const { done } = part.supervise({ signal });
    return optional.has(part.spec.name) ? done.catch((error) => console.error(error.message)) : done;
  });
  await Promise.all(supervised).finally(down);
}

async function down() {
  for (const part of parts.toReversed()) {
    const { outcome, tookMs } = await part.stop();
    console.log(`${part.spec.name}: ${outcome}, after ${tookMs} ms`);
  }
}

async function status() {
  for (const part of parts) {
    const { state, pid, address, restarts, lastExit, supervisor } = await part.status();
    const details = [pid && `PID ${pid}`, address, restarts > 0 && `${restarts} restarts`];
    const ended = lastExit && `ended with ${lastExit.signal ?? `exit code ${lastExit.exitCode}`} before`;
    const kept = supervisor && `${supervisor.state}, by PID ${supervisor.pid}`;
    console.log([part.spec.name.padEnd(9), state, ...details, ended, kept].filter(Boolean).join('  '));
    if (state !== 'running' && !optional.has(part.spec.name)) process.exitCode = 3;
  }
}

async function logs() {
  const show = async (/** @type {ProcessManager} */ part) => {
    const lines = values.follow ? part.followLog({ lines: 5, signal }) : await part.logTail(5);
    for await (const line of lines) console.log(`${part.spec.name}: ${line}`);
  };
  await Promise.all(parts.map(show));
}

/** Holds the lock of a part while it deletes the part's files, so that no process can start it. The lock file itself stays. */
async function reset() {
  await down();
  for (const { spec, files } of parts) {
    await withLock(spec.lockFile, () => files.map((file) => rmSync(file, { force: true })), { signal });
  }
  rmSync(join(stateDir, 'temporal-data'), { recursive: true, force: true });
}
