/**
 * The projects of the install test. Each has the programs of consumer/ that use the package.
 * An InstallProject is empty, and a package manager installs the package into it. A BundledProject has bundles of the programs of
 * consumer/bundled/: each bundler takes in an ES module and a CommonJS program, plain and minified, without a warning. Each bundle runs
 * twice in another project than the one in which it was made: with node_modules, where it finds the addon, and without, where a helper
 * takes the lock.
 */
// @ts-check
import {
  accessSync,
  constants,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { cachedPackage } from './cached-packages.mjs';
import { PACKAGE_MANAGERS, surroundingsOf } from './package-managers.mjs';
import { describe, mustRun, runProgram } from './run-program.mjs';

/** @typedef {import('./package-managers.mjs').PackageManager} PackageManager */
/** @typedef {import('./package-managers.mjs').Surroundings} Surroundings */
/** @typedef {'import' | 'require'} LoadedBy */
/** @typedef {'perl' | 'flock'} Helper */

const root = fileURLToPath(new URL('..', import.meta.url));
const CONSUMERS = { import: 'esm.mjs', require: 'commonjs.cjs' };
const COPIED = [
  'consumer/esm.mjs',
  'consumer/commonjs.cjs',
  'consumer/use.mjs',
  'consumer/every-call.mjs',
  'consumer/server.mjs',
];
const PRELOADED = '../test/fixtures/on-windows.cjs';

export class InstallProject {
  #manager;
  #surroundings;
  #folder;

  /** @param {PackageManager} manager @param {Surroundings} surroundings @param {string} folder is made */
  constructor(manager, surroundings, folder) {
    this.#manager = manager;
    this.#surroundings = surroundings;
    this.#folder = folder;
    mkdirSync(folder);
    for (const file of [...COPIED, PRELOADED]) cpSync(join(root, 'scripts', file), join(folder, basename(file)));
  }

  /** @param {string} tarball @param {'blocked' | 'built'} how */
  async install(tarball, how) {
    const { approval, complaint, name } = this.#manager;
    const manifest = { name: 'consumer', private: true, ...(how === 'built' ? approval : {}) };
    this.#write({ 'package.json': JSON.stringify(manifest), ...this.#surroundings.files });
    const [command = name, ...args] = this.#manager[how];
    const options = { cwd: this.#folder, env: this.#surroundings.env };
    // yarn accepts the path of a package only behind a name.
    const ended = await runProgram(command, [...args, `flock-process@file:${tarball}`], options);
    const isExpected = how === 'blocked' && complaint?.test(ended.stdout + ended.stderr);
    if (ended.exitCode !== 0 && !isExpected) throw new Error(describe(`${command} ${args.join(' ')}`, ended));
  }

  /** @param {string} line */
  async runCommand(line) {
    await mustRun('/bin/sh', ['-c', line], { cwd: this.#folder, env: this.#surroundings.env });
  }

  /**
   * Does everything that a dependent does with the package.
   * @param {LoadedBy} by
   * @param {{ onPath: readonly Helper[], through: Helper | 'fs-ext' }} options `through`: what must have taken the locks
   * @returns {Promise<string>} what has taken the locks
   */
  async use(by, { onPath, through }) {
    const ended = await this.#runProgram(by, [], { onPath });
    const [, helper = ''] = /locking through (\S+)/.exec(ended.stderr) ?? [];
    const used = /locked through fs-ext/.test(ended.stdout) && helper === '' ? 'fs-ext' : basename(helper);
    if (ended.exitCode !== 0 || used !== through) throw new Error(describe(`${by}, through ${used}`, ended));
    return used;
  }

  /**
   * Runs a task of the program that must fail with this error.
   * @param {LoadedBy} by
   * @param {'lock' | 'call-all'} task
   * @param {{ onPath: readonly Helper[], error: RegExp, preload?: string }} options
   * @returns {Promise<string>} name and message of the error
   */
  async refuse(by, task, { onPath, error, preload }) {
    const ended = await this.#runProgram(by, [task], { onPath, preload });
    const [message] = error.exec(ended.stdout + ended.stderr) ?? [];
    if (message === undefined) throw new Error(describe(`${by}, ${task}`, ended));
    return message;
  }

  /**
   * @param {LoadedBy} by
   * @param {readonly string[]} words
   * @param {{ onPath: readonly Helper[], preload?: string | undefined }} options
   */
  async #runProgram(by, words, { onPath, preload }) {
    const { node, programs, env } = this.#surroundings;
    const [runner, ...runnerWords] = this.#manager.runner ?? [];
    const preloading = preload === undefined ? [] : ['--require', `./${preload}`];
    const running = runner === undefined ? [] : [join(programs, runner), ...runnerWords];
    return await runProgram(node.binary, [...running, ...preloading, CONSUMERS[by], ...words], {
      cwd: this.#folder,
      env: { ...env, PATH: this.#pathWith(onPath), DEBUG: 'flock-process:flock', DEBUG_COLORS: '0' },
      timeoutMs: 120_000,
    });
  }

  /** A folder that has these helpers and nothing else. @param {readonly Helper[]} helpers */
  #pathWith(helpers) {
    const folder = join(this.#folder, ['only', ...helpers].join('-'));
    mkdirSync(folder, { recursive: true });
    for (const helper of helpers) {
      const link = join(folder, helper);
      try {
        symlinkSync(whereIs(helper, this.#surroundings.env.PATH ?? ''), link);
      } catch (error) {
        if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
      }
    }
    return folder;
  }

  /** @param {Record<string, string>} files */
  #write(files) {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.#folder, name), text);
  }
}

/**
 * The command that the error names for this package manager.
 * @param {PackageManager} manager
 * @param {string} message
 */
export function fixFor({ name, version }, message) {
  const [base = name] = name.split(' ');
  const labels = [`${base} ${version.split('.')[0]}`, base];
  const commands = labels.flatMap((label) => new RegExp(`${label}: (?:first )?"([^"]+)"`).exec(message)?.[1] ?? []);
  if (commands.length === 0) throw new Error(`the error names no command for ${name}: ${message}`);
  return commands.join(' && ');
}

/** @typedef {{ entry: string, output: string, isMinified: boolean }} Order `output`: a folder */
/** @typedef {{ command: readonly string[], file: string }} Bundling `file`: in that folder */

/**
 * @typedef {object} Bundler
 * @property {string} name
 * @property {string} package
 * @property {string} version
 * @property {readonly string[]} [besides] see cachedPackage
 * @property {(order: Order) => Bundling} bundle
 * @property {'require'} [withoutAddon] the program whose bundle cannot know where it is: a CommonJS file inside an ES module
 */

const ESBUILD = { package: 'esbuild', version: '0.28.2' };
const WEBPACK = { package: 'webpack', version: '5.113.0', besides: ['webpack-cli@7.3.1'] };

/** The bundlers that take the package in, and the command line by which each makes one file of a program. @type {readonly Bundler[]} */
export const BUNDLERS = [
  { ...ESBUILD, name: 'esbuild', bundle: (order) => byEsbuild(order, isModule(order) ? 'esm' : 'cjs') },
  // esbuild turns an ES module into CommonJS, and the other way round.
  {
    ...ESBUILD,
    name: 'esbuild, crossed',
    bundle: (order) => byEsbuild(order, isModule(order) ? 'cjs' : 'esm'),
    withoutAddon: 'require',
  },
  // webpack's default target is a browser.
  { ...WEBPACK, name: 'webpack', bundle: (order) => byWebpack(order, []) },
  { ...WEBPACK, name: 'webpack, target node', bundle: (order) => byWebpack(order, ['--target', 'node']) },
  { package: '@vercel/ncc', version: '0.45.0', name: 'ncc', bundle: byNcc },
];

/** @typedef {{ bundler: Bundler, isMinified: boolean }} How */

const jest = join(root, 'node_modules/jest');

/** The jest version of this repository. */
export const JEST = `jest ${JSON.parse(readFileSync(join(jest, 'package.json'), 'utf8')).version}`;

const PROGRAMS = { import: 'program.mjs', require: 'program.cjs' };
const TESTS = { import: 'import.test.mjs', require: 'require.test.cjs' };

/** What the programs print, whichever bundler was used. */
const SEEN = {
  contention: 'LockHeldError ERR_LOCK_HELD',
  detached: 'running',
  stop: 'stopped',
  tied: 'running',
  shared: 'running',
  ephemeral: 'served\n',
};

/** @param {How} how */
export function labelOf({ bundler: { name, version }, isMinified }) {
  const [base, ...variant] = name.split(', ');
  return [`${base} ${version}`, ...variant, ...(isMinified ? ['minified'] : [])].join(', ');
}

export class BundledProject {
  /** The project where bundles are made, and the one where they are run. */
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
    // Only the second project has an addon that can be loaded: a bundle must not depend on where it was made.
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
    // With the package `debug` its lines are printed, without it one line that says so, and in neither case a warning of Node.
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

/** @param {Order} order @param {'esm' | 'cjs'} format @returns {Bundling} */
function byEsbuild({ entry, output, isMinified }, format) {
  const file = format === 'esm' ? 'out.mjs' : 'out.cjs';
  const options = ['--bundle', '--platform=node', `--format=${format}`, ...(isMinified ? ['--minify'] : [])];
  return { command: ['esbuild', entry, ...options, `--outfile=${join(output, file)}`], file };
}

/** @param {Order} order @param {readonly string[]} options @returns {Bundling} */
function byWebpack({ entry, output, isMinified }, options) {
  const mode = isMinified ? 'production' : 'development';
  return {
    command: ['webpack', '--mode', mode, '--entry', entry, '--output-path', output, ...options],
    file: 'main.js',
  };
}

/** @param {Order} order @returns {Bundling} */
function byNcc(order) {
  const { entry, output, isMinified } = order;
  const command = ['ncc', 'build', entry, '--out', output, ...(isMinified ? ['--minify'] : [])];
  return { command, file: isModule(order) ? 'index.mjs' : 'index.cjs' };
}

/** @param {Order} order */
function isModule({ entry }) {
  return entry.endsWith('.mjs');
}

/** @param {string} text @returns {unknown} */
function jsonOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    // SyntaxError: the program has printed something else, which will be shown.
    return undefined;
  }
}

/** @param {string} program @param {string} path */
function whereIs(program, path) {
  const found = path
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find(isExecutable);
  if (found === undefined) throw new Error(`this test needs ${program} on PATH`);
  return found;
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // ENOENT, EACCES: this file cannot be run.
    return false;
  }
}
