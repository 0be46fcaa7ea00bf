/**
 * perl and flock(1), which take the lock for a program without the addon. They run as children with our descriptor as
 * their descriptor 3. The lock belongs to the open file description, which both share, so it stays ours when the helper
 * exits.
 */

import { once } from 'node:events';
import { closeSync, constants, openSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { onAbort } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText, FlockBindingError, isDenied } from '../support/errors.js';
import { isExecutableFile } from '../support/files.js';
import { builtIn } from '../support/load.js';

const log = debugLog('flock');

/**
 * 'ex' and 'sh' are LOCK_EX and LOCK_SH with LOCK_NB. 'un' is LOCK_UN, which frees the lock for every process that
 * shares the open file description. 'question' is LOCK_SH, released at once.
 */
export type Operation = 'ex' | 'sh' | 'un' | 'question';

export interface Flock {
  attempt(fd: number, operation: Operation, patienceMs?: number): boolean;
  wait?: (fd: number, signal: AbortSignal) => Promise<boolean>;
}

/**
 * The arguments are flags of flock(2), the same on every system: LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8. Exit
 * status 201 means refused: it is neither 1 nor a status that `die` makes of an errno.
 */
const PERL = [
  '-e',
  'open(my $f, "+<&=", 3) or open($f, "<&=", 3) or die "fdopen: $!\\n"; ' +
    'for (@ARGV) { flock($f, $_) and next; exit 201 if $!{EWOULDBLOCK} or $!{EAGAIN}; die "flock: $!\\n" }',
];

/** A waiting helper can outlive its caller, so it closes the caller's descriptors: Node hands on some above 15. */
const PERL_ALONE = [
  '-e',
  `if (opendir(my $d, "/dev/fd")) { for (readdir $d) { open(my $other, "<&=", $_) if $_ > 3 } } ${PERL[1]}`,
];

const HELPERS = [
  {
    name: 'perl',
    refusedStatus: 201,
    arguments: { ex: [...PERL, '6'], sh: [...PERL, '5'], un: [...PERL, '8'], question: [...PERL, '5', '8'] },
    waiting: [...PERL_ALONE, '2'],
  },
  {
    name: 'flock',
    // busybox's flock has no `-E` for another status.
    refusedStatus: 1,
    // The lock of a question is freed when the descriptor is closed: later than by perl, but sooner than by a second
    // program.
    arguments: { ex: ['-n', '-x', '3'], sh: ['-n', '-s', '3'], un: ['-u', '3'], question: ['-n', '-s', '3'] },
    waiting: ['-x', '3'],
  },
];

type Helper = (typeof HELPERS)[number] & { path: string };

/** The install test runs the quoted commands. */
const BUILD_ADDON =
  'build the addon (it needs Python 3, make and a C++ compiler): ' +
  'npm: "npm rebuild fs-ext --ignore-scripts=false" (npm 12: first "npm install-scripts approve fs-ext"), ' +
  'pnpm: "pnpm add --allow-build=fs-ext fs-ext && pnpm rebuild fs-ext", ' +
  'yarn: "npm pkg set --json dependenciesMeta.fs-ext.built=true && yarn install", ' +
  'bun: "bun add fs-ext && bun pm trust fs-ext"';

/** What emulates Node here, and cannot use its addons. */
export const foreignRuntime = ['bun', 'deno'].find((name) => process.versions[name] !== undefined);

export function helperFlock(addonError: unknown): Flock {
  let helpers = findHelpers();
  if (helpers.length === 0) throw bindingError(addonError);
  log('locking through %s', helpers[0]?.path);
  const attempt = (fd: number, operation: Operation, patienceMs?: number) => {
    const args = (it: Helper) => (patienceMs === undefined ? it.arguments[operation] : it.waiting);
    const [helper, result] = firstThatWorks(helpers, (it) => runHelper(it, args(it), fd, patienceMs));
    // A broken helper is tried once: the next call begins with the one that works.
    if (helper !== helpers[0]) {
      log('locking through %s', helper.path);
      helpers = [helper, ...helpers.filter((other) => other !== helper)];
    }
    return result;
  };
  return { attempt, wait: (fd, signal) => waitInHelper(helpers[0] as Helper, fd, signal) };
}

function bindingError(addonError: unknown): FlockBindingError {
  let [problem, otherWay] = ['the addon fs-ext is missing or was not built', BUILD_ADDON];
  const { isMainThread } = builtIn('node:worker_threads');
  if (foreignRuntime !== undefined)
    [problem, otherWay] = [`${foreignRuntime} cannot use the addon fs-ext`, 'run the program with Node'];
  else if (!isMainThread)
    [problem, otherWay] = ['a worker thread cannot use the addon fs-ext', 'lock in the main thread'];
  else if (errorCode(addonError) === 'ERR_DLOPEN_DISABLED')
    [problem, otherWay] = ['Node may not load addons', 'start it with --allow-addons'];
  return new FlockBindingError(
    `No way to call flock(2): ${problem}, and neither perl nor flock(1) (Debian: util-linux) is on PATH. Install one of the two, or ${otherWay}`,
    { cause: addonError },
  );
}

/** The first one on PATH can be the shim of a version manager without such a program. @throws what all of them threw */
function firstThatWorks<T>(helpers: readonly Helper[], use: (helper: Helper) => T): [Helper, T] {
  const failures: unknown[] = [];
  for (const helper of helpers) {
    try {
      return [helper, use(helper)];
    } catch (error) {
      if (isDenied(error)) throw error;
      log('%s does not work: %s', helper.path, errorText(error));
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  throw new Error([...new Set(failures.map(errorText))].join('; '), { cause: failures[0] });
}

function runHelper({ path, refusedStatus }: Helper, args: string[], fd: number, timeout?: number): boolean {
  const { status, signal, stderr, error } = builtIn('node:child_process').spawnSync(path, args, {
    ...surroundings(),
    stdio: ['ignore', 'ignore', 'pipe', fd],
    encoding: 'utf8',
    timeout,
    killSignal: 'SIGKILL',
  });
  if (errorCode(error) === 'ETIMEDOUT') return false;
  if (error !== undefined) throw error;
  // Deno returns an empty object when it may not run the program.
  if (status === undefined) throw Object.assign(new Error(`${path} takes --allow-run`), { name: 'NotCapable' });
  if (status === 0) return true;
  // A helper that failed complains; only a silent refusal is contention. A failing helper must never read as "locked".
  if (status === refusedStatus && stderr === '') return false;
  const line = [path, ...args].join(' ');
  throw new Error(`helper failed (${signal ?? `exit code ${status}`}): ${stderr.trim()} [${line}]`);
}

/** False also when the helper fails, or somebody kills it: the next attempt tells why. */
async function waitInHelper({ path, waiting }: Helper, fd: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  const child = builtIn('node:child_process').spawn(path, waiting, {
    ...surroundings(),
    stdio: ['ignore', 'ignore', 'ignore', fd],
  });
  const forget = onAbort(signal, () => child.kill('SIGKILL'));
  try {
    const [status] = await once(child, 'exit');
    return status === 0;
  } catch {
    // EAGAIN, EMFILE, ENOENT: the helper was not started.
    return false;
  } finally {
    forget();
  }
}

/**
 * The environment lacks what makes any program complain, or perl behave otherwise: a preload or a locale that is
 * missing, perl's options. The working directory is one that nobody wants to remove or to unmount.
 */
function surroundings() {
  return { cwd: '/', env: { ...process.env, LC_ALL: 'C', LD_PRELOAD: undefined, PERL5OPT: undefined } };
}

let waiter: string | undefined;

/**
 * The program with which a shell waits for a lock: the first of flock(1) and perl that works, for the shell would try a
 * broken one again for ever. The path is absolute, so that it does not depend on the PATH of the shell.
 * @throws FlockBindingError when none works: the addon cannot wait for a shell
 */
export function findWaiter(): string {
  const helpers = findHelpers().toSorted((one, other) => one.name.localeCompare(other.name));
  const fail = (problem: string, cause?: unknown): never => {
    const message = `A shared process is watched with flock(1) (Debian: util-linux, macOS: "brew install flock") or perl, and ${problem}`;
    throw new FlockBindingError(message, { cause });
  };
  if (helpers.length === 0) fail('neither is on PATH: install one of them');
  // Any file will do for a trial, and this one always exists.
  const fd = openSync('/', constants.O_RDONLY);
  try {
    waiter ??= firstThatWorks(helpers, (it) => runHelper(it, it.arguments.un, fd))[0].path;
    return waiter;
  } catch (error) {
    return fail(`none on PATH works: ${errorText(error)}`, error);
  } finally {
    closeSync(fd);
  }
}

/** Every helper on PATH, in the order of HELPERS. */
function findHelpers(): Helper[] {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(isAbsolute);
  const all = HELPERS.flatMap((helper) => folders.map((folder) => ({ ...helper, path: join(folder, helper.name) })));
  return all.filter(({ path }) => isExecutableFile(path));
}
