/** perl and flock(1) in place of the addon: each takes the very same lock, as a child that has our descriptor as its 3. */

import { delimiter, isAbsolute, join } from 'node:path';
import { debugLog } from '../support/debug.js';
import { FlockBindingError } from '../support/errors.js';
import { isExecutableFile } from '../support/files.js';
import { builtIn } from '../support/load.js';

const log = debugLog('flock');

/** LOCK_EX, LOCK_SH (both with LOCK_NB) and LOCK_UN; 'question' is LOCK_SH, given back at once. */
type Operation = 'ex' | 'sh' | 'un' | 'question';

/** True: done. False: another open file description has a lock that conflicts. */
export type Flock = (fd: number, operation: Operation) => boolean;

interface Helper {
  name: string;
  /** The exit status that says: another has a lock that conflicts. */
  refusedStatus: number;
  commandsOf(path: string): Record<Operation, readonly [command: string, ...arguments: string[]]>;
}

/** Not 1, and none that `die` makes of an errno. */
const PERL_REFUSED_STATUS = 201;

const PERL_LINE =
  'open(my $f, "+<&=", 3) or open($f, "<&=", 3) or die "fdopen: $!\\n"; ' +
  `for (@ARGV) { flock($f, $_) and next; exit ${PERL_REFUSED_STATUS} if $!{EWOULDBLOCK} or $!{EAGAIN}; die "flock: $!\\n" }`;

const PERL_HELPER: Helper = {
  name: 'perl',
  refusedStatus: PERL_REFUSED_STATUS,
  // LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8, wherever there is a flock(2).
  commandsOf: (perl) => ({
    ex: [perl, '-e', PERL_LINE, '6'],
    sh: [perl, '-e', PERL_LINE, '5'],
    un: [perl, '-e', PERL_LINE, '8'],
    question: [perl, '-e', PERL_LINE, '5', '8'],
  }),
};

const FLOCK_HELPER: Helper = {
  name: 'flock',
  // busybox's flock has no `-E` for another status.
  refusedStatus: 1,
  commandsOf: (flock) => ({
    ex: [flock, '-n', '-x', '3'],
    sh: [flock, '-n', '-s', '3'],
    un: [flock, '-u', '3'],
    // Given back when the descriptor is closed: longer than perl has it, yet not as long as another program takes to start.
    question: [flock, '-n', '-s', '3'],
  }),
};

/** The quoted commands are what the install test runs. */
const BUILD_ADDON =
  'build the addon (it needs Python 3, make and a C++ compiler): ' +
  'npm: "npm rebuild fs-ext --ignore-scripts=false" (npm 12: first "npm install-scripts approve fs-ext"), ' +
  'pnpm: "pnpm add --allow-build=fs-ext fs-ext && pnpm rebuild fs-ext", ' +
  'yarn: "npm pkg set --json dependenciesMeta.fs-ext.built=true && yarn install", ' +
  'bun: "bun add fs-ext && bun pm trust fs-ext"';

/** @throws FlockBindingError when neither is on PATH */
export function helperFlock(addonError: unknown): Flock {
  for (const { name, refusedStatus, commandsOf } of [PERL_HELPER, FLOCK_HELPER]) {
    const path = findExecutable(name);
    if (path === undefined) continue;
    log('locking through %s', path);
    const commands = commandsOf(path);
    return (fd, operation) => runHelper(commands[operation], { fd, refusedStatus });
  }
  const [problem, otherWay] = builtIn('node:worker_threads').isMainThread
    ? ['the addon fs-ext is missing or was not built', BUILD_ADDON]
    : ['a worker thread cannot use the addon fs-ext', 'lock in the main thread'];
  throw new FlockBindingError(
    `No way to call flock(2): ${problem}, and neither perl nor flock(1) (Debian: util-linux) is on PATH. Install one of the two, or ${otherWay}`,
    { cause: addonError },
  );
}

/**
 * The command that waits, as long as it takes, for LOCK_EX on the descriptor that it inherits under this number, and exits
 * with 0 when its open file description has it. Absolute, so that it does not depend on the PATH of whoever runs it.
 * @throws FlockBindingError when there is neither flock(1) nor perl: the addon cannot wait for a shell
 */
export function waitingCommand(fd: number): readonly [command: string, option: string, argument: string] {
  const flock = findExecutable('flock');
  if (flock !== undefined) return [flock, '-x', String(fd)];
  const perl = findExecutable('perl');
  if (perl !== undefined) return [perl, '-e', `open(my $f, "+<&=", ${fd}) or die; flock($f, 2) or die`];
  throw new FlockBindingError(
    'A shared process is watched with flock(1) (Debian: util-linux, macOS: "brew install flock") or perl, and neither is on PATH: install one of them',
  );
}

function runHelper(
  [command, ...helperArguments]: readonly [string, ...string[]],
  { fd, refusedStatus }: { fd: number; refusedStatus: number },
): boolean {
  const { status, signal, stderr, error } = builtIn('node:child_process').spawnSync(command, helperArguments, {
    stdio: ['ignore', 'ignore', 'pipe', fd],
    encoding: 'utf8',
    // What makes any program complain, or perl do something else: a preload or a locale that is not there, its own options.
    env: { ...process.env, LC_ALL: 'C', LD_PRELOAD: undefined, PERL5OPT: undefined },
  });
  if (error !== undefined) throw error;
  if (status === 0) return true;
  // A helper that failed complains; only a silent refusal is contention. A failing helper must never read as "locked".
  if (status === refusedStatus && stderr === '') return false;
  const line = [command, ...helperArguments].join(' ');
  throw new Error(`helper failed (${signal ?? `exit code ${status}`}): ${stderr.trim()} [${line}]`);
}

function findExecutable(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter(isAbsolute)
    .map((folder) => join(folder, name))
    .find(isExecutableFile);
}
