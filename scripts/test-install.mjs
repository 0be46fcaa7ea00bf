/**
 * `npm run test:install`: packs the package, has each package manager install it into empty projects, with the addon built and with its
 * build blocked, and uses it there through import and require. Prints what took the lock in each. In a blocked project it reads the error
 * that comes without any helper, and runs the command that the error names. Then each bundler takes the package into programs of both
 * kinds, and jest's tests load it. An installer that fails is marked in its row of the table.
 * `npm run test:install -- pnpm webpack`: only the managers, bundlers and runners whose name contains one of the words.
 */
// @ts-check
import { mkdirSync, realpathSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUNDLERS, BundledProject, fixFor, InstallProject, JEST, labelOf } from './install-projects.mjs';
import { PACKAGE_MANAGERS, surroundingsOf } from './package-managers.mjs';
import { mustRun, userEnvironment } from './run-program.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** @typedef {import('./package-managers.mjs').PackageManager} PackageManager */
/** @typedef {import('./install-projects.mjs').LoadedBy} LoadedBy */
/** @typedef {{ subject: string, addon: string, import: string, require: string, failures: string[] }} Row a way to install or bundle */

const root = fileURLToPath(new URL('..', import.meta.url));
const store = join(root, '.cache/stores');

const LOADED_BY = /** @type {const} */ (['import', 'require']);
const NO_HELPER = /FlockBindingError: .*/;
const ON_WINDOWS = /UnsupportedPlatformError: .*/;

const start = performance.now();
const words = process.argv.slice(2);
const managers = PACKAGE_MANAGERS.filter(
  ({ name, version }) => words.length === 0 || words.some((word) => `${name} ${version}`.includes(word)),
);
const run = beginTestRun();
mkdirSync(store, { recursive: true });
/** @type {string[]} */
const messages = [];
const tarball = await pack();
const works = [bundle, ...managers.map((manager) => () => installBy(manager))];
const rows = (await inParallel(works, (work) => work())).flat();
const leftovers = await endTestRun(run);
printTable(rows);
for (const message of messages) console.log(`\n${message}`);
for (const failure of rows.flatMap(({ failures }) => failures)) console.error(`\n✖ ${failure}`);
console.log(`\nin ${((performance.now() - start) / 1000).toFixed(0)} s`);
const failed = rows.flatMap((row) => LOADED_BY.filter((by) => row[by] === '✖')).length;
console.log(`${rows.length * LOADED_BY.length - failed} passed, ${failed + leftovers} failed`);
process.exitCode = rows.length === 0 || failed + leftovers > 0 ? 1 : 0;

async function pack() {
  const options = { cwd: root, env: userEnvironment({}) };
  // The script that runs this one has already built the package.
  await mustRun('npm', ['pack', '--ignore-scripts', '--pack-destination', run.folder], options);
  const { stdout } = await mustRun('npm', ['pkg', 'get', 'version'], options);
  return join(run.folder, `flock-process-${JSON.parse(stdout)}.tgz`);
}

/** @param {PackageManager} manager @returns {Promise<Row[]>} */
async function installBy(manager) {
  const name = `${manager.name} ${manager.version}`;
  /** @type {Row[]} */
  const rows = [];
  await unlessFailed(rows, name, 'to be fetched', async () => {
    const surroundings = await surroundingsOf(manager, { store: realpathSync(store), temporaryFolder: run.folder });
    const own = surroundings.node.binary === process.execPath ? '' : `, Node ${surroundings.node.version}`;
    await useAll(rows, { manager, surroundings, label: `${name}${own}` });
  });
  tell(name, rows);
  return rows;
}

/** Runs the bundlers, and jest, whose name contains one of the words. @returns {Promise<Row[]>} */
async function bundle() {
  const isChosen = (/** @type {string} */ name) => words.length === 0 || words.some((word) => name.includes(word));
  const bundlers = BUNDLERS.filter(({ name, version }) => isChosen(`${name} ${version}`));
  /** @type {Row[]} */
  const rows = [];
  if (bundlers.length === 0 && !isChosen(JEST)) return rows;
  await unlessFailed(rows, 'bundlers', 'to be prepared', async () => {
    const folder = join(run.folder, 'bundled');
    const project = await BundledProject.make({ tarball, folder, store: realpathSync(store) });
    if (isChosen(JEST)) rows.push(await rowOf(JEST, 'node_modules', (by) => project.test(by)));
    const all = bundlers.flatMap((bundler) => [false, true].map((isMinified) => ({ bundler, isMinified })));
    for (const how of all) {
      const use = async (/** @type {LoadedBy} */ by) => {
        await project.bundle(how, by);
        return await project.run(how, by, how.bundler.withoutAddon === by ? 'a helper' : 'fs-ext');
      };
      rows.push(await rowOf(labelOf(how), 'node_modules', use));
    }
    project.removePackages();
    for (const how of all) {
      rows.push(await rowOf(labelOf(how), 'no node_modules', (by) => project.run(how, by, 'a helper')));
    }
  });
  tell('bundlers and jest', rows);
  return rows;
}

/** @param {string} what @param {readonly Row[]} rows */
function tell(what, rows) {
  console.log(`${what}: ${rows.every(({ failures }) => failures.length === 0) ? '✔' : '✖'}`);
}

/** @param {Row[]} rows @param {{ manager: PackageManager, surroundings: import('./package-managers.mjs').Surroundings, label: string }} by */
async function useAll(rows, { manager, surroundings, label }) {
  const folder = join(run.folder, `${manager.name}-${manager.version}`.replace(' ', '-'));
  mkdirSync(folder);
  const project = (/** @type {string} */ name) => new InstallProject(manager, surroundings, join(folder, name));
  const look = async (/** @type {string} */ addon, /** @type {(by: LoadedBy) => Promise<string>} */ use) => {
    rows.push(await rowOf(label, addon, use));
  };

  await unlessFailed(rows, label, 'blocked', async () => {
    const blocked = project('blocked');
    await blocked.install(tarball, 'blocked');
    await look('blocked', (by) => {
      const helper = by === 'import' ? 'perl' : 'flock';
      return blocked.use(by, { onPath: [helper], through: helper });
    });
    let message = '';
    await look('blocked, no helper', async (by) => {
      message = await blocked.refuse(by, 'lock', { onPath: [], error: NO_HELPER });
      return 'FlockBindingError';
    });
    await unlessFailed(rows, label, 'after the command that it names', async () => {
      const fix = fixFor(manager, message);
      await look(`after: ${fix}`, async (by) => {
        if (by === 'import') await blocked.runCommand(fix);
        return await blocked.use(by, { onPath: ['flock'], through: 'fs-ext' });
      });
    });
    if (manager !== managers[0]) return;
    messages.push(`Without any helper: ${message}`);
    await look('Windows forced', async (by) => {
      const refusal = await blocked.refuse(by, 'call-all', {
        onPath: [],
        error: ON_WINDOWS,
        preload: 'on-windows.cjs',
      });
      if (by === 'import') messages.push(`Windows forced, every call: ${refusal}`);
      return 'UnsupportedPlatformError';
    });
  });
  await unlessFailed(rows, label, 'built', async () => {
    const built = project('built');
    await built.install(tarball, 'built');
    await look('built', (by) => built.use(by, { onPath: ['flock'], through: 'fs-ext' }));
  });
}

/**
 * Runs the work. If it fails as a whole, for example because an installer fails, that becomes a row of its own, so that the table still
 * shows the others.
 * @param {Row[]} rows
 * @param {string} subject
 * @param {string} addon
 * @param {() => Promise<void>} work
 */
async function unlessFailed(rows, subject, addon, work) {
  try {
    await work();
  } catch (error) {
    rows.push({ subject, addon, import: '✖', require: '✖', failures: [`${subject}, ${addon}: ${textOf(error)}`] });
  }
}

/**
 * @param {string} subject a package manager, a bundler, a test runner
 * @param {string} addon
 * @param {(by: LoadedBy) => Promise<string>} use returns what the table shows
 * @returns {Promise<Row>}
 */
async function rowOf(subject, addon, use) {
  /** @type {Row} */
  const row = { subject, addon, import: '', require: '', failures: [] };
  for (const by of LOADED_BY) {
    try {
      row[by] = `✔ ${await use(by)}`;
    } catch (error) {
      row[by] = '✖';
      row.failures.push(`${subject}, ${addon}, ${by}: ${textOf(error)}`);
    }
  }
  return row;
}

/** @param {readonly Row[]} rows */
function printTable(rows) {
  const lines = [['installed or bundled by', 'addon', 'import', 'require']];
  for (const row of rows) lines.push([row.subject, row.addon, row.import, row.require]);
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  console.log('');
  for (const line of lines) console.log(line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}

/** @param {unknown} error */
function textOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @template In, Out @param {readonly In[]} items @param {(item: In) => Promise<Out>} work @returns {Promise<Out[]>} */
async function inParallel(items, work) {
  /** @type {Out[]} */
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(/** @type {In} */ (items[index]));
    }
  };
  // One worker more than there are processors, because much of the work is waiting.
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, worker));
  return results;
}
