/**
 * `npm run test:install`: packs the package, has each package manager install it into empty projects, with the addon built
 * and with its build blocked, and uses it there through import and require. Shows what the lock went through in each.
 * In a blocked project the error without any helper is read, and the command that it names is run.
 * An installer that fails is a row of the table that is marked so.
 * `npm run test:install -- pnpm`: only the managers whose name has the word.
 */
// @ts-check
import { mkdirSync, realpathSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fixFor, InstallProject } from './install-project.mjs';
import { PACKAGE_MANAGERS, surroundingsOf } from './package-managers.mjs';
import { mustRun, userEnvironment } from './run-program.mjs';
import { beginTestRun, endTestRun } from './test-run.mjs';

/** @typedef {import('./package-managers.mjs').PackageManager} PackageManager */
/** @typedef {{ manager: string, addon: string, import: string, require: string, failures: string[] }} Row */

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
const rows = (await inParallel(managers, installBy)).flat();
const leftovers = await endTestRun(run);
printTable(rows);
for (const message of messages) console.log(`\n${message}`);
for (const failure of rows.flatMap(({ failures }) => failures)) console.error(`\n✖ ${failure}`);
console.log(`\nin ${((performance.now() - start) / 1000).toFixed(0)} s`);
const failed = rows.flatMap((row) => LOADED_BY.filter((by) => row[by] === '✖')).length;
console.log(`${rows.length * LOADED_BY.length - failed} passed, ${failed + leftovers} failed`);
process.exitCode = managers.length === 0 || failed + leftovers > 0 ? 1 : 0;

async function pack() {
  const options = { cwd: root, env: userEnvironment({}) };
  // Built already, by the script that runs this one.
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
  console.log(`${rows[0]?.manager}: ${rows.every(({ failures }) => failures.length === 0) ? '✔' : '✖'}`);
  return rows;
}

/** @param {Row[]} rows @param {{ manager: PackageManager, surroundings: import('./package-managers.mjs').Surroundings, label: string }} by */
async function useAll(rows, { manager, surroundings, label }) {
  const folder = join(run.folder, `${manager.name}-${manager.version}`.replace(' ', '-'));
  mkdirSync(folder);
  const project = (/** @type {string} */ name) => new InstallProject(manager, surroundings, join(folder, name));
  const look = async (
    /** @type {string} */ addon,
    /** @type {(by: 'import' | 'require') => Promise<string>} */ use,
  ) => {
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
 * What cannot even be looked at, when an installer fails for example, is a row of its own: the table shows all the others.
 * @param {Row[]} rows
 * @param {string} manager
 * @param {string} addon
 * @param {() => Promise<void>} work
 */
async function unlessFailed(rows, manager, addon, work) {
  try {
    await work();
  } catch (error) {
    rows.push({ manager, addon, import: '✖', require: '✖', failures: [`${manager}, ${addon}: ${textOf(error)}`] });
  }
}

/**
 * @param {string} manager
 * @param {string} addon
 * @param {(by: 'import' | 'require') => Promise<string>} use what to show of it
 * @returns {Promise<Row>}
 */
async function rowOf(manager, addon, use) {
  /** @type {Row} */
  const row = { manager, addon, import: '', require: '', failures: [] };
  for (const by of LOADED_BY) {
    try {
      row[by] = `✔ ${await use(by)}`;
    } catch (error) {
      row[by] = '✖';
      row.failures.push(`${manager}, ${addon}, ${by}: ${textOf(error)}`);
    }
  }
  return row;
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
  // One more than there are processors: much of it is waiting.
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, worker));
  return results;
}

/** @param {readonly Row[]} rows */
function printTable(rows) {
  const lines = [['package manager', 'addon', 'import', 'require']];
  for (const row of rows) lines.push([row.manager, row.addon, row.import, row.require]);
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  console.log('');
  for (const line of lines) console.log(line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}
