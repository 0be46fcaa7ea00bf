/**
 * What this process has inherited is not for the servers that it spawns: the lock of a calling script (`flock 200`) would be
 * held for as long as they live. At its start Node marks inherited descriptors close-on-exec up to the first gap above 15 only.
 */

import { debugLog } from '../support/debug.js';
import { errorCode, errorText, isOwnLimit } from '../support/errors.js';
import { descriptors } from '../system/proc-files.js';
import { loadAddon } from './flock.js';

const log = debugLog('flock');

const FD_CLOEXEC = 1;

let isImpossible = false;

/** Where there is no /proc to tell which are open. */
const FIRST_FDS = Array.from({ length: 253 }, (_, index) => index + 3);

/**
 * To be called in the turn of a spawn. Node hands on what is named in `stdio` all the same. Does nothing without the addon, which
 * alone has fcntl(2).
 */
export function markDescriptors(): void {
  if (isImpossible) return;
  try {
    const { fcntlSync } = loadAddon();
    const open = descriptors(process.pid);
    for (const fd of open.length > 0 ? open : FIRST_FDS) if (fd > 2) mark(fd, fcntlSync);
  } catch (error) {
    // No descriptor left to look with, say: the next time there can be one.
    isImpossible = !isOwnLimit(error);
    log('descriptors of the caller may reach what is spawned: %s', errorText(error));
  }
}

function mark(fd: number, fcntlSync: ReturnType<typeof loadAddon>['fcntlSync']): void {
  try {
    const flags = fcntlSync(fd, 'getfd');
    if ((flags & FD_CLOEXEC) === 0) fcntlSync(fd, 'setfd', flags | FD_CLOEXEC);
  } catch (error) {
    // EBADF: it was closed meanwhile, as the one with which the folder was read.
    if (errorCode(error) !== 'EBADF') throw error;
  }
}
