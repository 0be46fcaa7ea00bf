import { resolve } from 'node:path';
import { isLocked } from '../lock/file-lock.js';
import { errorText } from '../shared/error-text.js';
import { FlockProcessError, LockUnavailableError } from '../shared/errors.js';
import { processTable } from './process-table.js';

/** A lock that is held, and by nobody that is seen, may just have been freed and taken again between the two looks. */
const LOOKS = 3;

/**
 * PIDs of the live processes that hold the lock through an open descriptor, whoever first locked it, in ascending order;
 * empty when it is free. Not those that merely have the file open. Without /proc (macOS, the BSDs) the system does not
 * tell the two apart, and all that have it open are listed.
 * @throws LockUnavailableError when it is held and no holder can be seen (another user's process, another PID namespace)
 * @throws TypeError when `path` is not a non-empty string without NUL
 */
export async function lockHolders(path: string): Promise<number[]> {
  for (let look = 1; look <= LOOKS; look += 1) {
    if (!isLocked(path)) return [];
    const pids = new Set(carrierPids(path));
    if (pids.size > 0) return [...pids].toSorted((one, other) => one - other);
  }
  const message = `Cannot tell who holds "${path}": none of the processes that this user may examine has it; ask as root`;
  throw new LockUnavailableError(message, { path: resolve(path) });
}

function carrierPids(path: string): number[] {
  try {
    return processTable()
      .carriers(resolve(path))
      .map(({ process }) => process.pid);
  } catch (error) {
    if (error instanceof FlockProcessError) throw error;
    throw new LockUnavailableError(`Cannot tell who holds "${path}": ${errorText(error)}`, {
      path: resolve(path),
      cause: error,
    });
  }
}
