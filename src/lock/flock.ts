/**
 * flock(2) on an open descriptor, never waiting: the only user of fs-ext.
 *
 * Where the addon is missing or was installed without being built (npm 12, pnpm and bun do not run build scripts unless
 * told to), a helper takes the very same lock: flock(1) or perl, run as a child that has our descriptor as its 3. The lock
 * belongs to the open file description, which the two share, so it stays ours when the helper exits.
 *
 * `flockSync` only: fs-ext's asynchronous `flock` aborts the process when it is called in a worker thread, and four
 * blocked ones stall all of `fs`.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, isAbsolute, join } from 'node:path';
import { debugLog } from '../shared/debug.js';
import { errorCode, errorText, FlockBindingError, UnsupportedPlatformError } from '../shared/errors.js';

/** LOCK_EX, LOCK_SH (both with LOCK_NB) and LOCK_UN. */
type Operation = 'ex' | 'sh' | 'un';

/** True: done. False: another open file description has a lock that conflicts. */
type Flock = (fd: number, operation: Operation) => boolean;

const require = createRequire(import.meta.url);
const log = debugLog('flock');

let flock: Flock | undefined;

/**
 * Take a lock of that kind on the descriptor's open file description, or convert the one it has.
 * @returns false when another open file description has a lock that conflicts
 * @throws FlockBindingError; the system's error for anything that is not contention
 */
export function tryFlock(fd: number, operation: 'ex' | 'sh'): boolean {
  flock ??= chooseFlock();
  return flock(fd, operation);
}

/** LOCK_UN: frees the lock for every process that shares the open file description. */
export function unlock(fd: number): void {
  flock ??= chooseFlock();
  flock(fd, 'un');
}

/** @throws UnsupportedPlatformError on Windows, before anything is opened or made there */
export function assertSupportedPlatform(): void {
  if (process.platform !== 'win32') return;
  throw new UnsupportedPlatformError(
    'flock-process needs flock(2) and descriptors that a child inherits: it runs on Linux, macOS and the BSDs, not on Windows (WSL is Linux)',
  );
}

function chooseFlock(): Flock {
  try {
    return addonFlock();
  } catch (error) {
    log('fs-ext cannot be loaded, looking for a helper: %s', errorText(error));
    return helperFlock(error);
  }
}

function addonFlock(): Flock {
  const { flockSync } = require('fs-ext') as { flockSync(fd: number, flags: string): void };
  const flags = { ex: 'exnb', sh: 'shnb', un: 'un' } as const;
  return (fd, operation) => {
    for (;;) {
      try {
        flockSync(fd, flags[operation]);
        return true;
      } catch (error) {
        const code = errorCode(error);
        if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return false;
        if (code !== 'EINTR') throw error;
      }
    }
  };
}

/** Exit status of a helper that was refused: flock(1) without `-E` (busybox has none) and our perl line agree on it. */
const HELPER_REFUSED = 1;

const PERL_LINE =
  'open(my $f, "+<&=", 3) or open($f, "<&=", 3) or die "fdopen: $!\\n"; flock($f, $ARGV[0]) and exit 0; ' +
  'exit 1 if $!{EWOULDBLOCK} or $!{EAGAIN}; die "flock: $!\\n"';

function helperFlock(addonError: unknown): Flock {
  const helpers: { name: string; arguments: Record<Operation, readonly string[]> }[] = [
    { name: 'flock', arguments: { ex: ['-n', '-x', '3'], sh: ['-n', '-s', '3'], un: ['-u', '3'] } },
    { name: 'perl', arguments: { ex: ['-e', PERL_LINE, '6'], sh: ['-e', PERL_LINE, '5'], un: ['-e', PERL_LINE, '8'] } },
  ];
  for (const { name, arguments: byOperation } of helpers) {
    const path = findExecutable(name);
    if (path === undefined) continue;
    log('locking through %s', path);
    return (fd, operation) => runHelper(path, byOperation[operation], fd);
  }
  throw new FlockBindingError(
    'No way to call flock(2): the addon fs-ext is missing or was not built, and neither flock(1) (Debian: util-linux) nor perl is on PATH. ' +
      'Install one of the two, or build the addon (it needs Python 3, make and a C++ compiler): ' +
      'npm: "npm install-scripts approve fs-ext && npm rebuild fs-ext", ' +
      'pnpm: "pnpm add --allow-build=fs-ext fs-ext", bun: "bun add fs-ext && bun pm trust fs-ext"',
    { cause: addonError },
  );
}

function runHelper(path: string, helperArguments: readonly string[], fd: number): boolean {
  const { status, signal, stderr, error } = spawnSync(path, helperArguments, {
    stdio: ['ignore', 'ignore', 'pipe', fd],
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  if (status === 0) return true;
  // A helper that failed complains; only a silent refusal is contention. A failing helper must never read as "locked".
  if (status === HELPER_REFUSED && stderr === '') return false;
  throw new Error(`${path} ${helperArguments[0]} failed (${signal ?? `exit code ${status}`}): ${stderr.trim()}`);
}

function findExecutable(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter(isAbsolute)
    .map((folder) => join(folder, name))
    .find(isExecutableFile);
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // ENOENT, EACCES, ENOTDIR, ELOOP: not one that can be run, whichever it is.
    return false;
  }
}
