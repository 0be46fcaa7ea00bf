/** `npm run examples`: runs each example as its reader would, in an empty home folder, and compares what it prints. */
// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** @typedef {{ command: string[], during?: string[], prints: RegExp, exitCode?: number }} Example */

const temporal = ['temporal-cli.mjs', `--port=${await freePort()}`];

/**
 * In this order: `command` is a file of examples/ and its arguments, `prints` must match its output. `during` is another
 * such command: started before, and still at work when it has printed its first line.
 * @type {Example[]}
 */
const examples = [
  { command: ['demo.mjs'], prints: /Temporal \d.*same PID.*freed the lock.*after the crash.*ended by itself/s },
  { command: ['demo.mjs', '--small-server'], prints: /small-server.*same PID.*freed the lock.*ended by itself/s },
  { command: ['job.mjs', '--seconds=0.1'], prints: /does the job.*is done/s },
  { command: ['job.mjs'], during: ['job.mjs', '--seconds=3'], prints: /running already \(PID \d+\)/, exitCode: 1 },
  { command: ['job.mjs', '--wait', '--seconds=0.1'], during: ['job.mjs', '--seconds=1'], prints: /is done/ },
  { command: [...temporal, 'status'], prints: /Temporal is stopped/, exitCode: 3 },
  { command: [...temporal, 'start'], prints: /Temporal is ready on 127\.0\.0\.1:\d+ after [\d.]+ s, PID \d+/ },
  {
    command: [...temporal, 'start'],
    prints: /^Temporal is already running \(lock file held by another process\), PID \d+\n$/,
  },
  { command: [...temporal, 'status'], prints: /Temporal is running\n +PID +\d+.*health ✔/s },
  { command: [...temporal, 'restart'], prints: /Temporal is ready again/ },
  { command: [...temporal, 'logs'], prints: /Temporal Server/ },
  { command: [...temporal, 'stop'], prints: /Temporal is stopped, after/ },
  { command: [...temporal, 'stop'], prints: /Temporal is not running/ },
  {
    command: [...temporal, 'start', '--command=./no-temporal'],
    prints: /not found.*Install the Temporal CLI/s,
    exitCode: 1,
  },
  { command: ['redis.mjs', `${await freePort()}`], prints: /is ready.*reused: true.*running.*redis: stopped/s },
];

const TIMEOUT_MS = 120_000;

const folder = fileURLToPath(new URL('../examples', import.meta.url));
const run = beginTestRun();
const home = join(run.folder, 'home');
mkdirSync(home);
/** The temporal on PATH, else the one that the set-up fetched. */
const path = [process.env.PATH, fileURLToPath(new URL('../.cache/temporal/bin', import.meta.url))].join(delimiter);
const options = { cwd: folder, env: { ...run.environment, HOME: home, PATH: path } };

let failures = 0;
for (const example of examples) {
  const failure = example.during === undefined ? runExample(example) : await runDuring(example.during, example);
  console.log(`${failure === undefined ? '✔' : '✖'} ${example.command.join(' ')}${failure ?? ''}`);
  if (failure !== undefined) failures += 1;
}
const leftovers = await endTestRun(run);
console.log(`${examples.length} examples, of which ${failures} failed`);
process.exitCode = failures + leftovers > 0 ? 1 : 0;

/** @param {string[]} during @param {Example} example @returns {Promise<string | undefined>} why it failed */
async function runDuring(during, example) {
  const other = spawn(process.execPath, during, {
    ...options,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: TIMEOUT_MS,
  });
  const ended = once(other, 'exit');
  await Promise.race([once(other.stdout, 'data'), ended]);
  const failure = runExample(example);
  const [exitCode] = await ended;
  return failure ?? (exitCode === 0 ? undefined : `: "${during.join(' ')}" meanwhile ended with exit code ${exitCode}`);
}

/** @param {Example} example @returns {string | undefined} why it failed */
function runExample({ command, prints, exitCode = 0 }) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, command, {
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output = `${stdout}${stderr}`;
  if (status === exitCode && prints.test(output)) return undefined;
  return ` ended with ${signal ?? `exit code ${status}`}; wanted ${exitCode} and ${prints} in:\n${output}`;
}

/** @returns {Promise<number>} a TCP port on which nobody listens */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((closed) => server.close(closed));
  return port;
}
