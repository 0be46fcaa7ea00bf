/**
 * flock(2) on an open descriptor: through the addon fs-ext, else through perl or flock(1).
 *
 * Where the addon is missing or was installed without being built (npm 12, pnpm and bun do not run build scripts unless
 * told to), a helper takes the very same lock (flock-helpers.ts).
 *
 * Of fs-ext only `flockSync` is used: its asynchronous `flock` aborts the process when it is called in a worker thread, and
 * four blocked ones stall all of `fs`. And only in the main thread: fs-ext 2.1.1 keeps handles of the thread that loaded it
 * last in static variables, and a thread that loads it after that one ended aborts the process.
 */

import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { builtIn, loadPackage } from '../support/load.js';
import { type Flock, helperFlock, type Operation } from './flock-helpers.js';

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
 * Waits for LOCK_EX on a descriptor through one helper that is blocked in the kernel, until it is granted or the signal is
 * aborted: the helper is gone then. Undefined with the addon, which could only block this thread.
 */
export function flockWaiter(): Flock['wait'] {
  chosen ??= chooseFlock();
  return chosen.wait;
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

let addon: Addon | undefined;

/** @throws an Error in a worker thread; MODULE_NOT_FOUND, ERR_DLOPEN_FAILED, … */
export function loadAddon(): Addon {
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
