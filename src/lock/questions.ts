/**
 * Questions about a lock. They change nothing: they ask for LOCK_SH, which is released at once, so two questions never
 * see each other, and an acquirer that meets one tries again.
 */

import { closeSync, constants } from 'node:fs';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText, LockUnavailableError } from '../support/errors.js';
import { type Carrier, processTable } from '../system/process-table.js';
import { canLockShared } from './flock.js';
import { asLockUnavailable, lockFileOf, openIfThere } from './lock-file.js';

const log = debugLog('lock');

/**
 * Does anybody hold the exclusive lock at this instant? Creates nothing; false when the file does not exist, or cannot
 * because a parent is no folder.
 * It never makes a concurrent `acquireLock` fail, and two concurrent calls never report each other.
 * @throws LockUnavailableError when that cannot be told (EACCES, not a regular file, …)
 * @throws TypeError when `path` is not a non-empty string without NUL
 */
export function isLocked(path: string): boolean {
  const file = lockFileOf(path, {});
  return asLockUnavailable(file.path, 'examine', () => {
    const fd = openIfReachable(file.path);
    if (fd === undefined) return false;
    try {
      return !canLockShared(fd);
    } finally {
      closeSync(fd);
    }
  });
}

/** Undefined, too, when a parent is no folder: then there is no such file either. */
function openIfReachable(path: string): number | undefined {
  try {
    return openIfThere(path, constants.O_RDONLY);
  } catch (error) {
    if (errorCode(error) !== 'ENOTDIR') throw error;
    return undefined;
  }
}

/**
 * PIDs of the live processes that hold the lock through an open descriptor, whoever first locked it, in ascending order;
 * empty when it is free. Not those that merely have the file open. Without /proc (macOS, the BSDs) the system does not
 * tell the two apart, and all that have it open are listed.
 * @throws LockUnavailableError when it is held and no holder can be seen (another user's process, another PID namespace)
 * @throws TypeError when `path` is not a non-empty string without NUL
 */
export async function lockHolders(path: string): Promise<number[]> {
  const file = lockFileOf(path, {});
  // A held lock without a visible holder may have been freed and taken again in between.
  for (let look = 1; look <= 3; look += 1) {
    if (!isLocked(file.path)) return [];
    const pids = asLockUnavailable(file.path, 'examine', () => pidsOf(processTable().carriers(file.path)));
    if (pids.length > 0) return pids;
  }
  const message = `Cannot tell who holds "${path}": none of the processes that this user may examine has it; ask as root, in a container with --cap-add SYS_PTRACE`;
  throw new LockUnavailableError(message, { path: file.path });
}

/**
 * The holders of LOCK_SH, for a message: none when they cannot be told, for want of lsof or of a descriptor.
 * lockHolders() does not name them: it names holders of the exclusive lock.
 */
export function sharedLockPids(path: string): number[] {
  try {
    return pidsOf(processTable().carriers(path, { kind: 'shared' }));
  } catch (error) {
    log('cannot tell who shares %s: %s', path, errorText(error));
    return [];
  }
}

function pidsOf(carriers: readonly Carrier[]): number[] {
  return [...new Set(carriers.map((carrier) => carrier.process.pid))].toSorted((one, other) => one - other);
}
