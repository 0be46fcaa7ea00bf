/**
 * `npm run test:matrix`: runs the whole suite on the present Node, the cases of test-runners.mjs under each test runner, those of
 * test-runtimes.mjs under Bun and Deno, the smoke tests on the other supported Node versions, each with the addon built for it, and smoke
 * tests with /proc hidden (test-without-proc.mjs).
 * `npm run test:matrix -- --except-current`: without the whole suite, for a run that has it in another step.
 * `npm run test:matrix -- --runners vitest jsdom`: only the runners and environments whose name contains one of the words.
 * `npm run test:matrix -- --runtimes`: only Bun and Deno.
 * `npm run test:matrix -- --without-proc`: only what macOS and the BSDs use, as far as Linux can test it.
 * On Linux with x64 the other Node versions are fetched from the npm registry. Elsewhere name their binaries, as a version manager has
 * them: NODE_22=… NODE_24=… NODE_26=… npm run test:matrix.
 */
// @ts-check
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon } from './built-addon.mjs';
import { currentNode, headersOf, NODE_VERSIONS, nodeOf } from './node-versions.mjs';
import { runProgram, userEnvironment } from './run-program.mjs';
import { tryRunners } from './test-runners.mjs';
import { tryRuntimes } from './test-runtimes.mjs';
import { testWithoutProc, whyNotWithoutProc } from './test-without-proc.mjs';

/** @typedef {import('./node-versions.mjs').Major} Major */
/** @typedef {import('./node-versions.mjs').NodeVersion} NodeVersion */
/** @typedef {{ label: string, what: string, passed: number, failed: number, seconds: number }} Result */

/** Arguments of `npm test` that choose the laws of the lock, the fallback, a start, a stop, tied and shared processes, worker threads. */
const SMOKE_TESTS = [
  'lock/acquire',
  'lock/interoperability',
  'lock/fallback.test',
  'lock/hand-over',
  'lock/is-locked',
  'lock/wait.test',
  'lock/waiting-helper',
  'lock/worker',
  'package/import',
  'process/permission',
  'process/start-race',
  'process/status.test',
  'process/stop.test',
  'process/supervise-crash',
  'process/tied-killed-owner',
  'process/users.test',
  'process/worker-threads',
  'testing/ephemeral-instance',
  'testing/shared-crash',
];

/** The folders and files that the compiled tests read, besides the packages. */
const COPIED = ['build', 'dist', 'package.json', 'scripts', 'src', 'test'];

const SUITE_TIMEOUT_MS = 1_800_000;

const root = fileURLToPath(new URL('..', import.meta.url));

const others = /** @type {Major[]} */ (Object.keys(NODE_VERSIONS).map(Number)).filter(
  (major) => major !== currentNode.major,
);
/** @type {Result[]} */
const results = [];
const words = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const parts = ['--runners', '--runtimes', '--without-proc'].filter((part) => process.argv.includes(part));
const isWhole = parts.length === 0;
if (isWhole && !process.argv.includes('--except-current')) results.push(await wholeSuite());
if (isWhole || parts.includes('--runners')) results.push(await allRunners());
if (isWhole || parts.includes('--runtimes')) results.push(...(await allRuntimes()));
if (isWhole || parts.includes('--without-proc')) results.push(await portableTests());
if (isWhole) for (const major of others) results.push(await smokeTest(major));
for (const { label, passed, failed, seconds, what } of results) {
  console.log(
    `${label.padEnd(14)} ${String(passed).padStart(5)} passed ${String(failed).padStart(4)} failed   ${what}, ${seconds} s`,
  );
}
const sum = (/** @type {'passed' | 'failed'} */ what) => results.reduce((total, result) => total + result[what], 0);
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
process.exitCode = sum('failed') > 0 ? 1 : 0;

/** Runs the suite in this environment, so in CI with the counts of CI. @returns {Promise<Result>} */
async function wholeSuite() {
  const options = { cwd: root, env: process.env, echo: true };
  return await testOn(currentNode, { what: 'all tests', words: [] }, options);
}

/** @returns {Promise<Result>} */
async function allRunners() {
  const start = performance.now();
  const label = 'test runners';
  try {
    const counts = await tryRunners(words);
    return { label, what: 'cases', ...counts, seconds: Math.round((performance.now() - start) / 1000) };
  } catch (error) {
    console.error(`✖ ${label}: ${error instanceof Error ? error.message : error}`);
    return { label, what: 'not run', passed: 0, failed: 1, seconds: 0 };
  }
}

/** @returns {Promise<Result[]>} a row for each runtime; their cases run side by side */
async function allRuntimes() {
  const start = performance.now();
  const label = 'runtimes';
  try {
    const rows = await tryRuntimes();
    const seconds = Math.round((performance.now() - start) / 1000);
    return rows.map((row) => ({ ...row, what: 'cases', seconds }));
  } catch (error) {
    console.error(`✖ ${label}: ${error instanceof Error ? error.message : error}`);
    return [{ label, what: 'not run', passed: 0, failed: 1, seconds: 0 }];
  }
}

/** @returns {Promise<Result>} passes only if the portable branch was used */
async function portableTests() {
  const start = performance.now();
  const label = 'without /proc';
  const reason = whyNotWithoutProc();
  if (reason !== undefined) return { label, what: `not run: ${reason}`, passed: 0, failed: 0, seconds: 0 };
  try {
    const { output, exitCode, calls, leftovers } = await testWithoutProc();
    const { passed, failed } = countsIn(output);
    const used = Object.entries(calls).map(([program, count]) => `${count} calls of ${program}`);
    const isPortable = Object.values(calls).every((count) => count > 0);
    const isGreen = exitCode === 0 && passed > 0 && failed === 0 && isPortable && leftovers === 0;
    if (!isGreen) console.error(`✖ ${label}, ${used.join(', ')}\n${failuresIn(output)}`);
    const seconds = Math.round((performance.now() - start) / 1000);
    const what = `smoke tests, ${used.join(', ')}`;
    return { label, what, passed, failed: isGreen ? 0 : Math.max(failed + leftovers, 1), seconds };
  } catch (error) {
    console.error(`✖ ${label}: ${error instanceof Error ? error.message : error}`);
    return { label, what: 'not run', passed: 0, failed: 1, seconds: 0 };
  }
}

/** @param {Major} major @returns {Promise<Result>} */
async function smokeTest(major) {
  const folder = mkdtempSync(join(tmpdir(), 'flock-process-matrix-'));
  try {
    const node = await nodeOf(major);
    await makeTree(folder, node);
    const options = { cwd: folder, env: environmentOf(node) };
    return await testOn(node, { what: 'smoke tests', words: SMOKE_TESTS }, options);
  } catch (error) {
    console.error(`✖ Node ${major}: ${error instanceof Error ? error.message : error}`);
    return { label: `Node ${major}`, what: 'not run', passed: 0, failed: 1, seconds: 0 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes a project with the same packages, but with an addon for this Node. @param {string} folder @param {NodeVersion} node */
async function makeTree(folder, node) {
  chmodSync(folder, 0o755); // also for tests that run their subject as another user
  for (const name of COPIED) cpSync(join(root, name), join(folder, name), { recursive: true });
  const modules = join(folder, 'node_modules');
  mkdirSync(modules);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== 'fs-ext') symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
  await buildAddon(node.binary, { folder: join(modules, 'fs-ext'), env: environmentOf(node) });
}

/**
 * @param {NodeVersion} node
 * @param {{ what: string, words: readonly string[] }} tests
 * @param {{ cwd: string, env: NodeJS.ProcessEnv, echo?: boolean }} options
 * @returns {Promise<Result>}
 */
async function testOn(node, { what, words }, options) {
  const start = performance.now();
  const { exitCode, stdout, stderr } = await runProgram(node.binary, ['scripts/test.mjs', ...words], {
    ...options,
    timeoutMs: SUITE_TIMEOUT_MS,
  });
  const { passed, failed } = countsIn(stdout);
  const isGreen = exitCode === 0 && passed > 0 && failed === 0;
  if (!isGreen && options.echo !== true) console.error(`✖ Node ${node.version}\n${failuresIn(stdout)}${stderr}`);
  const seconds = Math.round((performance.now() - start) / 1000);
  return { label: `Node ${node.version}`, what, passed, failed: isGreen ? 0 : Math.max(failed, 1), seconds };
}

/** @param {string} output the output of Node's test runner */
function countsIn(output) {
  const count = (/** @type {string} */ name) => Number(new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  return { passed: count('pass'), failed: count('fail') + count('cancelled') };
}

/** @param {string} output the output of Node's test runner, which repeats the failures at its end */
function failuresIn(output) {
  const index = output.lastIndexOf('✖ failing tests:');
  return index === -1 ? output.split('\n').slice(-60).join('\n') : output.slice(index);
}

/** @param {NodeVersion} node */
function environmentOf(node) {
  return userEnvironment({
    ...headersOf(node),
    PATH: [dirname(node.binary), process.env.PATH].join(delimiter),
  });
}
