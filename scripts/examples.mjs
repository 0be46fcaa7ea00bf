/** `npm run examples`: runs each example as its reader would, in an empty home folder, and compares what it prints. */
// @ts-check
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** @typedef {{ command: string[], prints: RegExp, exitCode?: number }} Example */

/**
 * In this order: `command` is a file of examples/ and its arguments, `prints` must match its output.
 * @type {Example[]}
 */
const examples = [];

const TIMEOUT_MS = 120_000;

const folder = fileURLToPath(new URL('../examples', import.meta.url));
const run = beginTestRun();
const home = join(run.folder, 'home');
mkdirSync(home);

let failures = 0;
for (const example of examples) {
  const failure = runExample(example);
  console.log(`${failure === undefined ? '✔' : '✖'} ${example.command.join(' ')}${failure ?? ''}`);
  if (failure !== undefined) failures += 1;
}
const leftovers = await endTestRun(run);
console.log(`${examples.length} examples, of which ${failures} failed`);
process.exitCode = failures + leftovers > 0 ? 1 : 0;

/** @param {Example} example @returns {string | undefined} why it failed */
function runExample({ command, prints, exitCode = 0 }) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, command, {
    cwd: folder,
    env: { ...run.environment, HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output = `${stdout}${stderr}`;
  if (status === exitCode && prints.test(output)) return undefined;
  return ` ended with ${signal ?? `exit code ${status}`}; wanted ${exitCode} and ${prints} in:\n${output}`;
}
