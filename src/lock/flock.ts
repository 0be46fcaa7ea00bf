/**
 * flock(2) on an open descriptor: through the addon fs-ext, else through perl or flock(1).
 *
 * Where the addon is missing or was installed without being built (npm 12, pnpm and bun do not run build scripts unless
 * told to), a helper takes the very same lock, as a child that has our descriptor as its 3. The lock belongs to the open
 * file description, which the two share, so it stays ours when the helper exits.
 *
 * Of fs-ext only `flockSync` is used: its asynchronous `flock` aborts the process when it is called in a worker thread, and
 * four blocked ones stall all of `fs`. And only in the main thread: fs-ext 2.1.1 keeps handles of the thread that loaded it
 * last in static variables, and a thread that loads it after that one ended aborts the process.
 */

import { delimiter, isAbsolute, join } from 'node:path';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText, FlockBindingError } from '../support/errors.js';
import { isExecutableFile } from '../support/files.js';
import { builtIn, loadPackage } from '../support/load.js';

const log = debugLog('flock');

/**
 * LOCK_EX and LOCK_SH, both with LOCK_NB. LOCK_UN, which frees the lock for every process that shares the open file
 * description. 'question' is LOCK_SH, given back at once.
 */
type Operation = 'ex' | 'sh' | 'un' | 'question';

type Flock = (fd: number, operation: Operation) => boolean;

let chosen: Flock | undefined;

/**
 * Never waits.
 * @returns false when another open file description has a lock that conflicts
 * @throws FlockBindingError; the system's error for anything that is not contention
 */
export function tryFlock(fd: number, operation: Operation): boolean {
  chosen ??= chooseFlock();
  return chosen(fd, operation);
}

/** Would LOCK_SH be granted on the descriptor, which has no lock? It is given back at once: it keeps LOCK_EX from others. */
export function canLockShared(fd: number): boolean {
  return tryFlock(fd, 'question');
}

function chooseFlock(): Flock {
  try {
    return addonFlock();
  } catch (error) {
    log('fs-ext cannot be loaded, looking for a helper: %s', errorText(error));
    return helperFlock(error);
  }
}

interface Addon {
  flockSync(fd: number, flags: string): void;
  fcntlSync(fd: number, command: 'getfd' | 'setfd', flags?: number): number;
}

/** @throws an Error in a worker thread; MODULE_NOT_FOUND, ERR_DLOPEN_FAILED, … */
export function loadAddon(): Addon {
  if (!builtIn('node:worker_threads').isMainThread)
    throw new Error('fs-ext aborts the process when a second thread of it loads it');
  return loadPackage('fs-ext') as Addon;
}

function addonFlock(): Flock {
  const { flockSync } = loadAddon();
  const flags = { ex: ['exnb'], sh: ['shnb'], un: ['un'], question: ['shnb', 'un'] } as const;
  const call = (fd: number, flag: string) => {
    try {
      flockSync(fd, flag);
      return true;
    } catch (error) {
      if (errorCode(error) === 'EAGAIN') return false;
      throw error;
    }
  };
  return (fd, operation) => flags[operation].every((flag) => call(fd, flag));
}

/**
 * Its arguments are flags of flock(2), the same on every system: LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8. Exit status 201
 * says refused: it is not 1, and none that `die` makes of an errno.
 */
const PERL = [
  '-e',
  'open(my $f, "+<&=", 3) or open($f, "<&=", 3) or die "fdopen: $!\\n"; ' +
    'for (@ARGV) { flock($f, $_) and next; exit 201 if $!{EWOULDBLOCK} or $!{EAGAIN}; die "flock: $!\\n" }',
];

const HELPERS = [
  {
    name: 'perl',
    refusedStatus: 201,
    arguments: { ex: [...PERL, '6'], sh: [...PERL, '5'], un: [...PERL, '8'], question: [...PERL, '5', '8'] },
  },
  {
    name: 'flock',
    // busybox's flock has no `-E` for another status.
    refusedStatus: 1,
    // A question's lock is freed when the descriptor is closed: later than by perl, but before another program would run.
    arguments: { ex: ['-n', '-x', '3'], sh: ['-n', '-s', '3'], un: ['-u', '3'], question: ['-n', '-s', '3'] },
  },
];

/** The quoted commands are what the install test runs. */
const BUILD_ADDON =
  'build the addon (it needs Python 3, make and a C++ compiler): ' +
  'npm: "npm rebuild fs-ext --ignore-scripts=false" (npm 12: first "npm install-scripts approve fs-ext"), ' +
  'pnpm: "pnpm add --allow-build=fs-ext fs-ext && pnpm rebuild fs-ext", ' +
  'yarn: "npm pkg set --json dependenciesMeta.fs-ext.built=true && yarn install", ' +
  'bun: "bun add fs-ext && bun pm trust fs-ext"';

function helperFlock(addonError: unknown): Flock {
  for (const helper of HELPERS) {
    const path = findExecutable(helper.name);
    if (path === undefined) continue;
    log('locking through %s', path);
    return (fd, operation) => runHelper(path, helper.arguments[operation], fd, helper.refusedStatus);
  }
  const [problem, otherWay] = builtIn('node:worker_threads').isMainThread
    ? ['the addon fs-ext is missing or was not built', BUILD_ADDON]
    : ['a worker thread cannot use the addon fs-ext', 'lock in the main thread'];
  throw new FlockBindingError(
    `No way to call flock(2): ${problem}, and neither perl nor flock(1) (Debian: util-linux) is on PATH. Install one of the two, or ${otherWay}`,
    { cause: addonError },
  );
}

function runHelper(command: string, args: string[], fd: number, refusedStatus: number): boolean {
  const { status, signal, stderr, error } = builtIn('node:child_process').spawnSync(command, args, {
    stdio: ['ignore', 'ignore', 'pipe', fd],
    encoding: 'utf8',
    // What makes any program complain, or perl do something else: a preload or a locale that is not there, its own options.
    env: { ...process.env, LC_ALL: 'C', LD_PRELOAD: undefined, PERL5OPT: undefined },
  });
  if (error !== undefined) throw error;
  if (status === 0) return true;
  // A helper that failed complains; only a silent refusal is contention. A failing helper must never read as "locked".
  if (status === refusedStatus && stderr === '') return false;
  const line = [command, ...args].join(' ');
  throw new Error(`helper failed (${signal ?? `exit code ${status}`}): ${stderr.trim()} [${line}]`);
}

/**
 * The program with which a shell waits for a lock. Absolute, so that it does not depend on the PATH of whoever runs it.
 * @throws FlockBindingError when there is neither flock(1) nor perl: the addon cannot wait for a shell
 */
export function findWaiter(): string {
  const waiter = findExecutable('flock') ?? findExecutable('perl');
  if (waiter !== undefined) return waiter;
  throw new FlockBindingError(
    'A shared process is watched with flock(1) (Debian: util-linux, macOS: "brew install flock") or perl, and neither is on PATH: install one of them',
  );
}

function findExecutable(name: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(isAbsolute);
  return folders.map((folder) => join(folder, name)).find(isExecutableFile);
}
