/**
 * The rows "test runner × environment" of `npm run test:matrix`: each runner runs the cases of consumer/runners/ with the packed package,
 * in a project of its own. A row passes when every case has run to its end and no process is left.
 */
// @ts-check
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedPackages } from './cached-packages.mjs';
import { describe, mustRun, runProgram } from './run-program.mjs';
import { RUNNER_PACKAGES, RUNNER_ROWS } from './runners.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** @typedef {import('./runners.mjs').RunnerRow} RunnerRow */
/** @typedef {{ passed: number, failed: number }} Counts */

/** A row that takes longer has failed: an endless loop is one of the failures that these rows are to find. */
const ROW_TIMEOUT_MS = 240_000;

const WORKERS = 2;

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'scripts/consumer/runners');
/** @type {{ titles: readonly string[] }} */
const { titles } = createRequire(import.meta.url)('./consumer/runners/cases.cjs');

/**
 * Prints a line for each row.
 * @param {readonly string[]} words only the rows whose name contains one of them; all rows if there are none
 * @returns {Promise<Counts>} how many cases passed and failed
 */
export async function tryRunners(words) {
  const isChosen = (/** @type {RunnerRow} */ row) =>
    words.length === 0 || words.some((word) => nameOf(row).includes(word));
  const waiting = RUNNER_ROWS.filter(isChosen);
  if (waiting.length === 0) throw new Error(`no runner or environment has one of the words "${words.join('", "')}"`);
  const run = beginTestRun();
  const counts = { passed: 0, failed: 0 };
  try {
    const project = await makeProject(run.folder);
    const worker = async () => {
      for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) {
        const { passed, failed } = await tryRunner(row, project);
        counts.passed += passed;
        counts.failed += failed;
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
  } finally {
    counts.failed += await endTestRun(run);
  }
  return counts;
}

/** @param {RunnerRow} row */
function nameOf({ runner, environment }) {
  return `${runner} ${environment}`;
}

/** @param {string} folder @returns {Promise<string>} */
async function makeProject(folder) {
  const project = join(folder, 'project');
  const modules = join(project, 'node_modules');
  cpSync(source, project, { recursive: true });
  mkdirSync(join(modules, 'flock-process'), { recursive: true });
  const packages = join(await cachedPackages('test-runners', RUNNER_PACKAGES), 'node_modules');
  for (const name of readdirSync(packages)) {
    if (!name.startsWith('.')) symlinkSync(join(packages, name), join(modules, name));
  }
  await unpackLibrary(folder, modules);
  return project;
}

/**
 * Unpacks the package as a package manager does: the files of the tarball, and the dependencies beside them.
 * @param {string} folder
 * @param {string} modules
 */
export async function unpackLibrary(folder, modules) {
  const options = { cwd: folder, env: process.env };
  // The script that runs this one has already built the package.
  await mustRun('npm', ['pack', root, '--ignore-scripts', '--pack-destination', folder], options);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
  const library = join(modules, 'flock-process');
  await mustRun('tar', ['-xzf', tarball, '-C', library, '--strip-components=1'], options);
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(library, 'package.json'), 'utf8'));
  mkdirSync(join(library, 'node_modules'));
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    symlinkSync(join(root, 'node_modules', name), join(library, 'node_modules', name));
  }
}

/** @param {RunnerRow} row @param {string} project @returns {Promise<Counts>} */
async function tryRunner(row, project) {
  const start = performance.now();
  const run = beginTestRun();
  const report = join(run.folder, 'cases-passed');
  // With this variable of an outer run, a runner would take itself for one of that run's test files.
  const env = { ...run.environment, CASES_PASSED: report, CI: 'true', NODE_TEST_CONTEXT: undefined };
  const ended = await runProgram(process.execPath, row.command, { cwd: project, env, timeoutMs: ROW_TIMEOUT_MS });
  const seen = existsSync(report) ? readFileSync(report, 'utf8').split('\n') : [];
  const leftovers = await endTestRun(run);
  const missing = titles.filter((title) => !seen.includes(title));
  const passed = titles.length - missing.length;
  const isGreen = ended.exitCode === 0 && missing.length === 0 && leftovers === 0;
  const failed = isGreen ? 0 : Math.max(missing.length, leftovers, 1);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${isGreen ? '✔' : '✖'} ${nameOf(row)}: ${passed} of ${titles.length} cases, ${seconds} s`);
  if (!isGreen)
    console.error(
      [...missing.map((title) => `  not passed: ${title}`), describe(row.command.join(' '), ended)].join('\n'),
    );
  return { passed, failed };
}
