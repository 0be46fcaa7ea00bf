/**
 * flock(2) on an open descriptor: through the addon fs-ext, else through perl or flock(1).
 *
 * Where the addon is missing or was installed without being built (npm 12, pnpm and bun do not run build scripts unless
 * told to), a helper takes the very same lock (flock-helpers.ts).
 *
 * Of fs-ext only `flockSync` is used: its asynchronous `flock` aborts the process when it is called in a worker thread,
 * and four blocked calls stall all of `fs`. It is used in the main thread only: fs-ext 2.1.1 keeps handles of the
 * thread that loaded it last in static variables, and a thread that loads it after that one ended aborts the process.
 */

import { debugLog } from '../support/debug.js';
import { errorCode, errorText, isOwnLimit } from '../support/errors.js';
import { builtIn, loadPackage } from '../support/load.js';
import { descriptors } from '../system/proc-files.js';
import { type Flock, foreignRuntime, helperFlock, type Operation } from './flock-helpers.js';

const log = debugLog('flock');

let chosen: Flock | undefined;

/**
 * @param patienceMs for LOCK_EX: how long a helper waits for it in the kernel; the addon never waits
 * @returns false when another open file description has a lock that conflicts
 * @throws FlockBindingError; the system's error for anything that is not contention
 */
export function tryFlock(fd: number, operation: Operation, patienceMs?: number): boolean {
  chosen ??= chooseFlock();
  return chosen.attempt(fd, operation, patienceMs);
}

/**
 * Waits for LOCK_EX on a descriptor through one helper that is blocked in the kernel, until it is granted or the signal
 * is aborted, which ends the helper. Undefined with the addon, which could only block this thread.
 */
export function flockWaiter(): Flock['wait'] {
  chosen ??= chooseFlock();
  return chosen.wait;
}

/** Would LOCK_SH be granted on this descriptor, which has no lock? It is released at once: it keeps LOCK_EX away. */
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

let addon: Addon | undefined;

/** @throws an Error in a worker thread, and under Bun and Deno; MODULE_NOT_FOUND, ERR_DLOPEN_FAILED, … */
function loadAddon(): Addon {
  // Bun loads an addon that was built for its ABI, and dies of a missing symbol when the first lock is refused.
  if (foreignRuntime !== undefined) throw new Error(`fs-ext is an addon for Node, not for ${foreignRuntime}`);
  if (!builtIn('node:worker_threads').isMainThread)
    throw new Error('fs-ext aborts the process when a second thread of it loads it');
  addon ??= loadPackage('fs-ext') as Addon;
  return addon;
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
  return { attempt: (fd, operation) => flags[operation].every((flag) => call(fd, flag)) };
}

const FD_CLOEXEC = 1;

let isImpossible = false;

/** The descriptors that are marked where there is no /proc to tell which are open. */
const FIRST_FDS = Array.from({ length: 253 }, (_, index) => index + 3);

/**
 * Marks the descriptors of this process close-on-exec. What it inherited is not for the servers that it spawns: they
 * would hold the lock of a calling script (`flock 200`) for as long as they live. At its start Node marks inherited
 * descriptors only up to the first gap above 15. To be called in the turn of a spawn; Node still hands on what `stdio`
 * names. Does nothing without the addon, which alone has fcntl(2).
 */
export function markDescriptors(): void {
  if (isImpossible) return;
  try {
    const { fcntlSync } = loadAddon();
    const open = descriptors(process.pid);
    for (const fd of open.length > 0 ? open : FIRST_FDS) if (fd > 2) mark(fd, fcntlSync);
  } catch (error) {
    // This process may only have been short of descriptors: then a later call succeeds.
    isImpossible = !isOwnLimit(error);
    log('descriptors of the caller may reach what is spawned: %s', errorText(error));
  }
}

function mark(fd: number, fcntlSync: ReturnType<typeof loadAddon>['fcntlSync']): void {
  try {
    const flags = fcntlSync(fd, 'getfd');
    if ((flags & FD_CLOEXEC) === 0) fcntlSync(fd, 'setfd', flags | FD_CLOEXEC);
  } catch (error) {
    // EBADF: the descriptor was closed meanwhile, as is the one with which the folder was read.
    if (errorCode(error) !== 'EBADF') throw error;
  }
}
