/**
 * flock(2) on an open descriptor, never waiting: the only user of fs-ext.
 *
 * Where the addon is missing or was installed without being built (npm 12, pnpm and bun do not run build scripts unless
 * told to), a helper takes the very same lock: perl or flock(1), run as a child that has our descriptor as its 3. The lock
 * belongs to the open file description, which the two share, so it stays ours when the helper exits.
 *
 * `flockSync` only: fs-ext's asynchronous `flock` aborts the process when it is called in a worker thread, and four
 * blocked ones stall all of `fs`. In the main thread only: fs-ext 2.1.1 keeps handles of the thread that loaded it last in
 * static variables, and a thread that loads it after that one ended aborts the process. Worker threads use a helper.
 */

import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { builtIn, loadPackage } from '../support/load.js';
import { type Flock, helperFlock } from './flock-helpers.js';

const log = debugLog('flock');

let way: Flock | undefined;

/**
 * Take a lock of that kind on the descriptor's open file description, or convert the one it has.
 * @returns false when another open file description has a lock that conflicts
 * @throws FlockBindingError; the system's error for anything that is not contention
 */
export function tryFlock(fd: number, operation: 'ex' | 'sh'): boolean {
  way ??= chooseFlock();
  return way(fd, operation);
}

/**
 * Would LOCK_SH be granted on the descriptor, which has no lock and is to be closed at once? It is given back at
 * once: while it is held, nobody is granted LOCK_EX.
 */
export function canLockShared(fd: number): boolean {
  way ??= chooseFlock();
  return way(fd, 'question');
}

/** LOCK_UN: frees the lock for every process that shares the open file description. */
export function unlock(fd: number): void {
  way ??= chooseFlock();
  way(fd, 'un');
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
  if (!builtIn('node:worker_threads').isMainThread)
    throw new Error('fs-ext aborts the process when a second thread of it loads it');
  const { flockSync } = loadPackage('fs-ext') as { flockSync(fd: number, flags: string): void };
  const flags = { ex: ['exnb'], sh: ['shnb'], un: ['un'], question: ['shnb', 'un'] } as const;
  const call = (fd: number, flag: string) => {
    for (;;) {
      try {
        flockSync(fd, flag);
        return true;
      } catch (error) {
        const code = errorCode(error);
        if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return false;
        if (code !== 'EINTR') throw error;
      }
    }
  };
  return (fd, operation) => flags[operation].every((flag) => call(fd, flag));
}
