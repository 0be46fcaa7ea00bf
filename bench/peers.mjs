/** The peers: packages in bench/peers, runit from Debian, small programs in C. The first run installs or compiles them. */
// @ts-check
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('./peers/', import.meta.url));
const built = join(folder, 'built');

export const requirePeer = createRequire(join(folder, 'package.json'));

/** The path of a package's command, for Node to run. @param {string} path */
export function peerFile(path) {
  return join(folder, 'node_modules', path);
}

export function installPeers() {
  if (existsSync(join(folder, 'node_modules/.package-lock.json'))) return;
  console.error('installing the peers into bench/peers …');
  // The exact versions of the peers are in package.json. Those of their dependencies may differ between two installations.
  run('npm', ['install', '--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund'], folder);
}

/** @param {string} name compiles bench/peers/NAME.c @returns {string} the path of the program */
export function compile(name) {
  const source = join(folder, `${name}.c`);
  const program = join(built, name);
  mkdirSync(built, { recursive: true });
  const isThere = existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs;
  if (!isThere) run('gcc', ['-O2', '-Wall', '-o', program, source], folder);
  return program;
}

/**
 * Finds runit's runsv on PATH, or else in Debian's package, which is unpacked here: nothing is installed, and no init script runs.
 * @returns {string | undefined} undefined when there is neither
 */
export function findRunsv() {
  if (spawnSync('runsv').error === undefined) return 'runsv';
  const unpacked = join(built, 'runit/usr/bin/runsv');
  if (existsSync(unpacked)) return unpacked;
  mkdirSync(built, { recursive: true });
  try {
    run('apt-get', ['download', 'runit'], built);
    const archive = readdirSync(built).find((name) => /^runit_.*\.deb$/.test(name)) ?? '';
    run('dpkg', ['-x', archive, join(built, 'runit')], built);
    return unpacked;
  } catch (error) {
    console.error(`runit is left out (Debian: apt-get install runit): ${error}`);
    return undefined;
  }
}

/** @param {string} command @param {readonly string[]} args @param {string} cwd */
function run(command, args, cwd) {
  const { status, error, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`"${command} ${args.join(' ')}" failed: ${error?.message ?? stderr.slice(-500)}`);
}
