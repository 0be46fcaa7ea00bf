/**
 * The package inside somebody else's bundle, and under jest, by the programs of consumer/bundled/. Each bundler takes in an
 * ES module and a CommonJS program, plain and minified, without a warning. Each bundle is run in another project than the one
 * that it was made in, twice: with node_modules, where it finds the addon, and without, where a helper takes the lock.
 */
// @ts-check
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { BUNDLERS } from './bundlers.mjs';
import { cachedPackage } from './cached-packages.mjs';
import { InstallProject } from './install-project.mjs';
import { rowOf, unlessFailed } from './install-rows.mjs';
import { PACKAGE_MANAGERS, surroundingsOf } from './package-managers.mjs';
import { describe, mustRun, runProgram } from './run-program.mjs';

/** @typedef {import('./install-rows.mjs').LoadedBy} LoadedBy */
/** @typedef {import('./bundlers.mjs').Bundler} Bundler */
/** @typedef {import('./bundlers.mjs').Order} Order */
/** @typedef {{ bundler: Bundler, isMinified: boolean }} How */

const root = fileURLToPath(new URL('..', import.meta.url));
const jest = join(root, 'node_modules/jest');

const PROGRAMS = { import: 'program.mjs', require: 'program.cjs' };
const TESTS = { import: 'import.test.mjs', require: 'require.test.cjs' };

/** What the programs see, whatever they are bundled by. */
const SEEN = {
  contention: 'LockHeldError ERR_LOCK_HELD',
  detached: 'running',
  stop: 'stopped',
  tied: 'running',
  shared: 'running',
  ephemeral: 'served\n',
};

/**
 * Rows of the table; none when no word is of one of them.
 * @param {{ tarball: string, folder: string, store: string, words: readonly string[] }} options `folder` is made
 */
export async function useBundled({ tarball, folder, store, words }) {
  const isChosen = (/** @type {string} */ name) => words.length === 0 || words.some((word) => name.includes(word));
  const bundlers = BUNDLERS.filter(({ name, version }) => isChosen(`${name} ${version}`));
  const { version: jestVersion } = JSON.parse(readFileSync(join(jest, 'package.json'), 'utf8'));
  const jestName = `jest ${jestVersion}`;
  /** @type {import('./install-rows.mjs').Row[]} */
  const rows = [];
  if (bundlers.length === 0 && !isChosen(jestName)) return rows;
  await unlessFailed(rows, 'bundlers', 'to be prepared', async () => {
    const project = await BundledProject.make({ tarball, folder, store });
    if (isChosen(jestName)) rows.push(await rowOf(jestName, 'node_modules', (by) => project.test(by)));
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
  return rows;
}

/** @param {How} how */
function labelOf({ bundler: { name, version }, isMinified }) {
  const [base, ...variant] = name.split(', ');
  return [`${base} ${version}`, ...variant, ...(isMinified ? ['minified'] : [])].join(', ');
}

class BundledProject {
  /** Where bundles are made, and where they are run. */
  #source;
  #target;
  #env;

  /** @param {string} folder @param {NodeJS.ProcessEnv} env */
  constructor(folder, env) {
    this.#source = join(folder, 'source');
    this.#target = join(folder, 'target');
    this.#env = env;
  }

  /** @param {{ tarball: string, folder: string, store: string }} options */
  static async make({ tarball, folder, store }) {
    const [npm] = PACKAGE_MANAGERS;
    if (npm === undefined) throw new Error('no package manager');
    const surroundings = await surroundingsOf(npm, { store, temporaryFolder: join(folder, '..') });
    const project = new BundledProject(folder, surroundings.env);
    mkdirSync(folder);
    // Only the second has an addon that can be loaded: a bundle must not depend on where it was made.
    await new InstallProject(npm, surroundings, project.#source).install(tarball, 'blocked');
    await new InstallProject(npm, surroundings, project.#target).install(tarball, 'built');
    for (const place of [project.#source, project.#target]) {
      cpSync(join(root, 'scripts/consumer/bundled'), join(place, 'bundled'), { recursive: true });
    }
    return project;
  }

  /** @param {How} how @param {LoadedBy} by */
  async bundle(how, by) {
    const { package: name, version, besides, bundle } = how.bundler;
    const programs = join(await cachedPackage(name, version, { besides }), 'node_modules/.bin');
    const [program = '', ...words] = bundle(this.#order(how, by)).command;
    const { stdout, stderr } = await mustRun(join(programs, program), words, { cwd: this.#source, env: this.#env });
    if (/warning/i.test(stdout + stderr)) throw new Error(`${program} warns: ${stdout}${stderr}`);
  }

  /** @param {How} how @param {LoadedBy} by @param {'fs-ext' | 'a helper'} through @returns {Promise<string>} what locked */
  async run(how, by, through) {
    const order = this.#order(how, by);
    const program = join(order.output, how.bundler.bundle(order).file);
    const state = this.#stateFolder();
    const ended = await runProgram(process.execPath, [program, this.#server, state], {
      cwd: state,
      env: { ...this.#env, DEBUG: 'flock-process:*' },
      timeoutMs: 60_000,
    });
    const isSeen = isDeepStrictEqual(jsonOf(ended.stdout), { ...SEEN, through });
    // With the package `debug` there are its lines, and without it one that says so: no warning of Node either.
    const lines = through === 'fs-ext' ? /flock-process:lock acquired/ : /^flock-process: nothing is logged, .*\n$/;
    const isLogged = lines.test(ended.stderr);
    if (ended.exitCode !== 0 || !isSeen || !isLogged) throw new Error(describe(program, ended));
    return through;
  }

  /** @param {LoadedBy} by @returns {Promise<string>} what locked */
  async test(by) {
    const mode = by === 'import' ? ['--experimental-vm-modules'] : [];
    const state = this.#stateFolder();
    const expected = JSON.stringify({ ...SEEN, through: 'fs-ext' });
    const env = { ...this.#env, SERVER: this.#server, FOLDER: state, EXPECTED: expected };
    const words = [...mode, join(jest, 'bin/jest.js'), `bundled/${TESTS[by]}`];
    await mustRun(process.execPath, words, { cwd: this.#target, env, timeoutMs: 120_000 });
    return 'fs-ext';
  }

  removePackages() {
    for (const place of [this.#source, this.#target]) rmSync(join(place, 'node_modules'), { recursive: true });
  }

  get #server() {
    return join(this.#target, 'server.mjs');
  }

  #stateFolder() {
    return mkdtempSync(join(this.#target, 'state-'));
  }

  /** @param {How} how @param {LoadedBy} by @returns {Order} */
  #order(how, by) {
    const entry = `./bundled/${PROGRAMS[by]}`;
    const output = join(this.#target, 'bundles', labelOf(how).replaceAll(/[, ]+/g, '-'), basename(entry));
    return { entry, output, isMinified: how.isMinified };
  }
}

/** @param {string} text @returns {unknown} */
function jsonOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    // SyntaxError: it has printed something else, which will be shown.
    return undefined;
  }
}
