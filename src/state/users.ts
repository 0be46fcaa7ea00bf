/**
 * NAME.users: the users of a shared process, counted by the kernel. Each holds LOCK_SH on the file; the watcher beside the
 * process waits for LOCK_EX, and keeps it while it ends the process. Whoever comes takes LOCK_SH before it looks at the
 * process's lock: refused, the process is on its way out.
 */

import { closeSync } from 'node:fs';
import { canLockShared, tryFlock } from '../lock/flock.js';
import { isSameFile, openLockFile } from '../lock/lock-file.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, LockUnavailableError, stopTimeoutError } from '../support/errors.js';
import { closeOnce } from '../support/files.js';
import { besideLockFile, type CompleteSpec, stopLimitMs } from './process-spec.js';

type Shared = Pick<CompleteSpec, 'name' | 'lockFile' | 'stopTimeoutMs'>;

/** One user. */
export interface User {
  /** Idempotent. */
  release(): void;
}

const log = debugLog('users');

/** A shared lock that is still there after so long is another user's, not somebody's look. */
const LOOK_GRACE_MS = 10;

/** And when it was met in as many attempts: through a helper, in a worker thread, that time is a single one. */
const MIN_LOOKS = 5;

/**
 * Become a user; waits while the process is being ended.
 * @param whenUnused done first, when nobody is a user; nobody can become one meanwhile
 * @throws StopTimeoutError | LockUnavailableError; the signal's reason; what `whenUnused` throws
 */
export async function joinUsers(
  spec: Shared,
  { signal, whenUnused }: { signal?: AbortSignal | undefined; whenUnused?: () => Promise<void> } = {},
): Promise<User> {
  const path = besideLockFile(spec, 'users');
  const limit = Deadline.after(stopLimitMs(spec));
  const pace = new Pace({ maxMs: 10 });
  for (;;) {
    signal?.throwIfAborted();
    const fd = openUsers(path);
    let isUser = false;
    try {
      // First a question: a watcher that is just going would refuse LOCK_EX, and an instant later LOCK_SH is granted.
      if (canLockShared(fd)) {
        if (whenUnused !== undefined && tryFlock(fd, 'ex') && isSameFile(fd, path)) await whenUnused();
        isUser = tryFlock(fd, 'sh') && isSameFile(fd, path);
      }
    } finally {
      if (!isUser) closeSync(fd);
    }
    if (isUser) {
      log('joined %s (PID %d, descriptor %d)', path, process.pid, fd);
      return { release: closeOnce(fd) };
    }
    if (limit.isOver) throw stopTimeoutError(spec, []);
    await pace.wait({ signal });
  }
}

/**
 * No longer a user. Resolves at once when there are others.
 * @param end what the last one out does, under LOCK_EX: nobody can come meanwhile
 * @returns whether it was the last one
 * @throws StopTimeoutError when somebody else ends it and does not come to an end; what `end` throws
 */
export async function leaveUsers(spec: Shared, user: User, end: () => Promise<void>): Promise<boolean> {
  user.release();
  const path = besideLockFile(spec, 'users');
  const limit = Deadline.after(stopLimitMs(spec));
  const pace = new Pace({ maxMs: 4 });
  let others = Deadline.after(LOOK_GRACE_MS);
  let looks = 0;
  for (;;) {
    const fd = openUsers(path);
    try {
      if (tryFlock(fd, 'ex')) {
        if (isSameFile(fd, path)) {
          await end();
          return true;
        }
      } else if (canLockShared(fd)) {
        looks += 1;
        if (others.isOver && looks >= MIN_LOOKS) return false;
      } else {
        // The watcher, or another who leaves, is ending it.
        if (limit.isOver) throw stopTimeoutError(spec, []);
        others = Deadline.after(LOOK_GRACE_MS);
        looks = 0;
      }
    } finally {
      closeSync(fd);
    }
    await pace.wait();
  }
}

function openUsers(path: string): number {
  try {
    return openLockFile(path, 0o600);
  } catch (error) {
    throw new LockUnavailableError(`Cannot lock "${path}": ${errorText(error)}`, { path, cause: error });
  }
}
