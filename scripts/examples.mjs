/**
 * `npm run examples`: runs each example as its reader would, in an empty home folder, and compares its output. `npm run examples -- nats`
 * runs only those whose command contains one of the words.
 */
// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './free-port.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** @typedef {{ command: string[], during?: string[], cutShort?: boolean, prints: RegExp, exitCode?: number, onTerminal?: boolean, inBackground?: 'begins' | 'ends' }} Example */

const temporal = ['temporal-cli.mjs', `--port=${await freePort()}`];
const daemon = ['daemon.mjs', ...temporal.slice(1)];
const stack = ['stack.mjs', `--port=${await freePort()}`];
const inForeground = [...stack, 'up', '--foreground'];
/** @param {string} path */
const installed = (path) => fileURLToPath(new URL(`../node_modules/${path}`, import.meta.url));

/**
 * The examples in the order of their runs. `command` is what node gets, mostly a file of examples/ and its arguments; `prints` must match
 * its output. `during` is another such command, which is started before it and still runs when it has printed its first line. That
 * command is then ended if `cutShort` is set; otherwise it must end by itself. With `onTerminal` the example runs on a terminal of its
 * own.
 * @type {Example[]}
 */
const examples = [
  { command: ['demo.mjs'], prints: /Temporal \d.*same PID.*freed the lock.*after the crash.*ended by itself/s },
  { command: ['demo.mjs', '--small-server'], prints: /small-server.*same PID.*freed the lock.*ended by itself/s },
  { command: ['job.mjs', '--seconds=0.1'], prints: /does the job.*is done/s },
  {
    command: ['job.mjs'],
    during: ['job.mjs', '--seconds=100'],
    cutShort: true,
    prints: /running already \(PID \d+\)/,
    exitCode: 1,
  },
  { command: ['job.mjs', '--wait', '--seconds=0.1'], during: ['job.mjs', '--seconds=1'], prints: /is done/ },
  { command: [...temporal, 'status'], prints: /Temporal is stopped/, exitCode: 3 },
  { command: [...temporal, 'start'], prints: /Temporal is ready on 127\.0\.0\.1:\d+ after [\d.]+ s, PID \d+/ },
  {
    command: [...temporal, 'start'],
    prints: /^Temporal is already running \(lock file held by another process\), PID \d+\n$/,
  },
  {
    command: [...temporal, 'status'],
    prints:
      /Temporal is running\n +PID +\d+\n +address +\S+:\d+\n +since .+\n +usage +[\d.]+ % .*checks +lock ✔.*health ✔\n$/s,
  },
  { command: [...temporal, 'restart'], prints: /Temporal is ready again/ },
  { command: [...temporal, 'stop'], onTerminal: true, prints: progress('Stopping', 'stopped, after [\\d.]+ s') },
  { command: [...temporal, 'start'], onTerminal: true, prints: progress('Starting', 'ready on \\S+ after') },
  { command: [...temporal, 'logs'], prints: /Temporal Server/ },
  { command: [...temporal, 'stop'], prints: /Temporal is stopped, after/ },
  { command: [...temporal, 'stop'], prints: /Temporal is not running/ },
  {
    command: [...temporal, 'start', '--command=./no-temporal'],
    prints: /not found.*Install the Temporal CLI/s,
    exitCode: 1,
  },
  { command: [...stack, 'status'], prints: /temporal +stopped.*api +stopped.*metrics +stopped/s, exitCode: 3 },
  {
    command: [...stack, 'up'],
    prints: /temporal is ready, PID \d+ \S+:\d+\napi is ready, PID \d+ 127\.0\.0\.1:\d+\nmetrics is ready, PID \d+/,
  },
  { command: [...stack, 'up'], prints: /temporal runs already.*api runs already.*metrics runs already/s },
  { command: [...stack, 'status'], prints: /temporal +running +PID \d+.*api +running.*metrics +running/s },
  { command: [...stack, 'logs'], prints: /api: listening on port \d+\n/ },
  { command: [...stack, 'down'], prints: /metrics: stopped.*api: stopped.*temporal: stopped/s },
  { command: inForeground, inBackground: 'begins', prints: /metrics is ready/ },
  { command: [...stack, 'status'], prints: /api +running .*watching, by PID \d+/ },
  { command: inForeground, inBackground: 'ends', prints: /temporal: stopped/ },
  { command: [...stack, 'status'], prints: /api +stopped.*ended with SIGTERM before/, exitCode: 3 },
  { command: [...stack, 'reset'], prints: /temporal: not-running/ },
  { command: daemon, inBackground: 'begins', prints: /Temporal is ready on 127\.0\.0\.1:\d+, PID \d+/ },
  { command: [...temporal, 'status'], prints: /Temporal is running.*kept by +PID \d+, watching, 0 restarts/s },
  { command: [...temporal, 'stop'], prints: /Temporal is stopped, after/ },
  {
    command: [...temporal, 'status'],
    prints:
      /Temporal is stopped.*kept by +PID \d+, standby.*last end +PID \d+ at .+: 0.*stopped by +temporal-cli\.mjs \(PID \d+\)/s,
    exitCode: 3,
  },
  { command: [...temporal, 'start'], prints: /Temporal is ready on/ },
  { command: daemon, inBackground: 'ends', prints: /is ready on.*PID \d+ ended: 0\n.*the daemon ends/s },
  { command: [...temporal, 'status'], prints: /Temporal is stopped/, exitCode: 3 },
  { command: ['--test', 'in-tests/node.test.mjs'], prints: /pass 1\n.*fail 0\n/s },
  { command: ['--test', 'in-tests/test-environment.test.mjs'], prints: /pass 1\n.*fail 0\n/s },
  { command: [installed('vitest/vitest.mjs'), 'run', '--root', 'in-tests'], prints: /1 passed/ },
  { command: [installed('jest/bin/jest.js'), '--config', 'in-tests/jest.config.mjs'], prints: /1 passed/ },
  { command: ['redis.mjs', `${await freePort()}`], prints: /is ready.*reused: true.*running.*redis: stopped/s },
  {
    command: ['nats.mjs'],
    prints: /^nats is ready on 127\.0\.0\.1:\d+, PID \d+\na message came back: hello\nstored by JetStream: 1\n$/,
  },
  { command: ['nats.mjs', '--command=./no-nats'], prints: /not found.*Install nats-server/s, exitCode: 1 },
  {
    command: ['--test', '--require=./shared-temporal/hold.cjs', ...testsIn('shared-temporal/node-test')],
    prints: /has PID (\d+)\n(.*has PID \1\n){3}.*pass 4/s,
  },
  {
    command: ['../node_modules/vitest/vitest.mjs', 'run', '--root=shared-temporal/vitest'],
    prints: /has PID (\d+)\n(.*has PID \1\n){3}.*4 passed/s,
  },
];

const TIMEOUT_MS = 120_000;

const folder = fileURLToPath(new URL('../examples', import.meta.url));
const run = beginTestRun();
const home = join(run.folder, 'home');
mkdirSync(home);
/** PATH with the programs that the set-up fetched behind the others. */
const fetched = ['temporal', 'nats-server'].map((name) =>
  fileURLToPath(new URL(`../.cache/${name}/bin`, import.meta.url)),
);
const path = [process.env.PATH, ...fetched].join(delimiter);
const options = { cwd: folder, env: { ...run.environment, HOME: home, PATH: path } };

/** @type {Map<string, { child: import('node:child_process').ChildProcess, output: string, ended: Promise<unknown[]> }>} */
const background = new Map();

const words = process.argv.slice(2);
const chosen = examples.filter(
  ({ command }) => words.length === 0 || words.some((word) => command.join(' ').includes(word)),
);

let failures = 0;
for (const example of chosen) {
  const failure = await failureOf(example);
  const where = example.onTerminal ? ' (on a terminal)' : '';
  console.log(`${failure === undefined ? '✔' : '✖'} ${example.command.join(' ')}${where}${failure ?? ''}`);
  if (failure !== undefined) failures += 1;
}
const leftovers = await endTestRun(run);
console.log(`${chosen.length} examples, of which ${failures} failed`);
process.exitCode = chosen.length === 0 || failures + leftovers > 0 ? 1 : 0;

/** @param {Example} example @returns {Promise<string | undefined>} */
async function failureOf(example) {
  if (example.inBackground === 'begins') return await beginInBackground(example);
  if (example.inBackground === 'ends') return await endInBackground(example);
  return example.during === undefined ? runExample(example) : await runDuring(example.during, example);
}

/** @param {Example} example @returns {Promise<string | undefined>} why it failed */
async function beginInBackground({ command, prints }) {
  const child = spawn(process.execPath, command, {
    ...options,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: TIMEOUT_MS,
  });
  const program = { child, output: '', ended: once(child, 'close') };
  background.set(command.join(' '), program);
  for await (const text of child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    program.output += text;
    if (!prints.test(program.output)) continue;
    child.stdout.on('data', (more) => {
      program.output += more;
    });
    return undefined;
  }
  return ` ended; wanted ${prints} in:\n${program.output}`;
}

/** @param {Example} example @returns {Promise<string | undefined>} why it failed */
async function endInBackground({ command, prints, exitCode = 0 }) {
  const program = background.get(command.join(' '));
  if (program === undefined) return ' was not begun';
  program.child.kill('SIGTERM');
  const [status] = await program.ended;
  if (status === exitCode && prints.test(program.output)) return undefined;
  return ` ended with exit code ${status}; wanted ${exitCode} and ${prints} in:\n${program.output}`;
}

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
  if (example.cutShort) other.kill();
  const [exitCode] = await ended;
  if (example.cutShort) return failure;
  return failure ?? (exitCode === 0 ? undefined : `: "${during.join(' ')}" meanwhile ended with exit code ${exitCode}`);
}

/** @param {Example} example @returns {string | undefined} why it failed */
function runExample({ command, prints, exitCode = 0, onTerminal = false }) {
  const terminal = onTerminal ? ['python3', '../scripts/on-terminal.py'] : [];
  const [program, ...args] = /** @type {[string, ...string[]]} */ ([...terminal, process.execPath, ...command]);
  const { status, signal, stdout, stderr } = spawnSync(program, args, {
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

/**
 * Prints a line that is overwritten while the time passes, and removed before the result.
 * @param {string} what
 * @param {string} result
 */
function progress(what, result) {
  return new RegExp(
    `\\r${what} Temporal … [\\d.]+ s.*\\r${what} Temporal … [\\d.]+ s\\x1b\\[K\\r\\x1b\\[KTemporal is ${result}`,
    's',
  );
}

/** @param {string} directory a folder of examples/ */
function testsIn(directory) {
  const names = readdirSync(new URL(`../examples/${directory}`, import.meta.url));
  return names.map((name) => `${directory}/${name}`);
}
