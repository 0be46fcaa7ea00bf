/**
 * Runs the compiled tests under Node's own runner, and fails when one of them leaves a process behind.
 * `npm test` runs all of them, `npm test -- lock` those whose path contains the word, `npm test -- FILE` that file; arguments that begin
 * with `--` are passed to `node --test`, which runs the files in the order of their names.
 */
// @ts-check
import { existsSync, readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runNodeInTestRun } from './test-run.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** A test file that takes longer hangs. */
const FILE_TIMEOUT_MS = 600_000;

/**
 * Tests mostly wait: with two files at a time two processors were idle for half of the run. With CI=true, where the long
 * attacks need the processors, three are enough for two of them.
 */
const CONCURRENCY = Math.max(process.env.CI === 'true' ? 3 : 4, Math.ceil(availableParallelism() / 2));

/**
 * They run longest with CI=true, so they begin first: at the end each of them would run alone. Those that need the processors and those
 * that mostly wait take turns.
 */
const LONGEST = [
  'testing/shared-runners',
  'process/suspended-look',
  'process/stop-against-start',
  'process/suspended-starter',
  'lock/fallback.test',
  'campaign/soak',
  'process/supervise-stop',
  'process/killed-starter',
  'process/temporal-lock',
  'process/supervise-outside',
  'process/tied-killed-owner',
  'process/predecessor-temporal',
  'presets/temporal-server',
  'testing/ephemeral-temporal',
  'testing/shared-last-user',
];

const options = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
const words = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const files = words.length === 0 ? allTests() : [...new Set(words.flatMap(testsFor))];

process.exitCode = await runNodeInTestRun(
  options.length > 0
    ? [
        '--test',
        '--test-reporter=spec',
        `--test-concurrency=${CONCURRENCY}`,
        `--test-timeout=${FILE_TIMEOUT_MS}`,
        ...options,
        ...files,
      ]
    : ['scripts/run-test-files.mjs', String(CONCURRENCY), String(FILE_TIMEOUT_MS), ...inOrder(files)],
);

/** @param {readonly string[]} files */
function inOrder(files) {
  const first = LONGEST.flatMap((word) => files.filter((file) => file.includes(word)));
  return [...new Set([...first, ...files])];
}

/** @param {string} word */
function testsFor(word) {
  if (existsSync(word) && statSync(word).isFile()) return [word];
  const matching = allTests().filter((file) => file.includes(word));
  if (matching.length > 0) return matching;
  console.error(`No test file has "${word}" in its path.`);
  process.exit(1);
}

/** Lists the tests by their sources, so that a compiled test of an earlier build is not run. */
function allTests() {
  return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => relative(root, join(root, 'build/test', file.replace(/\.ts$/, '.js'))))
    .sort();
}
