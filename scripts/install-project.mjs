/** An empty project that a package manager installs the package into, with the programs of consumer/ that use it. */
// @ts-check
import { accessSync, constants, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, mustRun, runProgram } from './run-program.mjs';

/** @typedef {import('./package-managers.mjs').PackageManager} PackageManager */
/** @typedef {import('./package-managers.mjs').Surroundings} Surroundings */
/** @typedef {'perl' | 'flock'} Helper */

const root = fileURLToPath(new URL('..', import.meta.url));
const PROGRAMS = { import: 'esm.mjs', require: 'commonjs.cjs' };
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
    // yarn takes a path for a package only with a name before it.
    const ended = await runProgram(command, [...args, `flock-process@file:${tarball}`], options);
    const isExpected = how === 'blocked' && complaint?.test(ended.stdout + ended.stderr);
    if (ended.exitCode !== 0 && !isExpected) throw new Error(describe(`${command} ${args.join(' ')}`, ended));
  }

  /** @param {string} line */
  async runCommand(line) {
    await mustRun('/bin/sh', ['-c', line], { cwd: this.#folder, env: this.#surroundings.env });
  }

  /**
   * The whole of what a dependent does.
   * @param {'import' | 'require'} by
   * @param {{ onPath: readonly Helper[], through: Helper | 'fs-ext' }} options `through`: what must have taken the locks
   * @returns {Promise<string>} what has
   */
  async use(by, { onPath, through }) {
    const ended = await this.#runProgram(by, [], { onPath });
    const [, helper = ''] = /locking through (\S+)/.exec(ended.stderr) ?? [];
    const used = /locked through fs-ext/.test(ended.stdout) && helper === '' ? 'fs-ext' : basename(helper);
    if (ended.exitCode !== 0 || used !== through) throw new Error(describe(`${by}, through ${used}`, ended));
    return used;
  }

  /**
   * A task of the program that must fail with this error.
   * @param {'import' | 'require'} by
   * @param {'lock' | 'call-all'} task
   * @param {{ onPath: readonly Helper[], error: RegExp, preload?: string }} options
   * @returns {Promise<string>} its name and message
   */
  async refuse(by, task, { onPath, error, preload }) {
    const ended = await this.#runProgram(by, [task], { onPath, preload });
    const [message] = error.exec(ended.stdout + ended.stderr) ?? [];
    if (message === undefined) throw new Error(describe(`${by}, ${task}`, ended));
    return message;
  }

  /**
   * @param {'import' | 'require'} by
   * @param {readonly string[]} words
   * @param {{ onPath: readonly Helper[], preload?: string | undefined }} options
   */
  async #runProgram(by, words, { onPath, preload }) {
    const { node, programs, env } = this.#surroundings;
    const [runner, ...runnerWords] = this.#manager.runner ?? [];
    const preloading = preload === undefined ? [] : ['--require', `./${preload}`];
    const running = runner === undefined ? [] : [join(programs, runner), ...runnerWords];
    return await runProgram(node.binary, [...running, ...preloading, PROGRAMS[by], ...words], {
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
    // ENOENT, EACCES: not one that can be run, whichever it is.
    return false;
  }
}
