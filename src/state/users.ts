/**
 * NAME.users: the users of a shared process, counted by the kernel. Each holds LOCK_SH on the file; the watcher beside
 * the process waits for LOCK_EX, and keeps it while it ends the process. A newcomer takes LOCK_SH before it looks at
 * the process's lock: if it is refused, the process is being ended. A watcher that lingers has released LOCK_EX, and
 * will ask for it again: the lines in the file tell it whether a user has come and left meanwhile.
 */

import { closeSync, fstatSync, writeSync } from 'node:fs';
import { tryFlock } from '../lock/flock.js';
import type { Operation } from '../lock/flock-helpers.js';
import { asLockUnavailable, isSameFile, openLockFile } from '../lock/lock-file.js';
import { Deadline, Pace, poll, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { stopTimeoutError } from '../support/errors.js';
import { closeOnce } from '../support/files.js';
import { besideLockFile, type CompleteSpec, stopLimitMs } from './process-spec.js';

type Shared = Pick<CompleteSpec, 'name' | 'lockFile' | 'stopTimeoutMs' | 'lingerMs'>;

/** `release` is idempotent. */
export type User = { release(): void };

const log = debugLog('users');

interface JoinOptions {
  signal?: AbortSignal | undefined;
  /** Called first when there is no user; nobody can become one meanwhile. */
  whenUnused?: () => Promise<void>;
  /** Called when the process is being ended. */
  onWait?: () => void;
}

/** Who gets to this look waits: the refusals of the looks before can have met somebody's question. */
const WAITING_LOOK = 3;

/**
 * Becomes a user; waits while the process is being ended.
 * @throws StopTimeoutError | LockUnavailableError; the signal's reason; what `whenUnused` throws
 */
export async function joinUsers(spec: Shared, { signal, whenUnused, onWait }: JoinOptions = {}): Promise<User> {
  throwIfAborted(signal);
  const path = besideLockFile(spec, 'users');
  const deadline = Deadline.after(stopLimitMs(spec));
  let looks = 0;
  const join = () => {
    looks += 1;
    if (looks === WAITING_LOOK) onWait?.();
    return tryToJoin(path, spec.lingerMs > 0, whenUnused);
  };
  const user = await poll(join, { deadline, signal, pace: new Pace({ maxMs: 10 }) });
  if (user === undefined) throw stopTimeoutError(spec, []);
  return user;
}

async function tryToJoin(path: string, lingers: boolean, whenUnused?: () => Promise<void>): Promise<User | undefined> {
  const fd = openUsers(path);
  const user = { release: closeOnce(fd) };
  let isUser = false;
  try {
    // The question comes first: a watcher about to exit would refuse LOCK_EX, and an instant later LOCK_SH is granted.
    if (!tryLockUsers(path, fd, 'question')) return undefined;
    if (whenUnused !== undefined && tryLockUsers(path, fd, 'ex') && isSameFile(fd, path)) await whenUnused();
    if (!tryLockUsers(path, fd, 'sh') || !isSameFile(fd, path)) return undefined;
    // Written under LOCK_SH, since the watcher reads the lines under LOCK_EX. Two users that write at the same place
    // leave one line, which is enough.
    if (lingers) asLockUnavailable(path, 'lock', () => writeSync(fd, '\n', fstatSync(fd).size));
    log('joined %s (PID %d, descriptor %d)', path, process.pid, fd);
    isUser = true;
    return user;
  } finally {
    if (!isUser) user.release();
  }
}

/**
 * @param end is called for the last user, under LOCK_EX: nobody can become a user meanwhile
 * @returns whether this was the last user
 * @throws StopTimeoutError when somebody else is ending the process and does not finish; what `end` throws
 */
export async function leaveUsers(spec: Shared, user: User, end: () => Promise<void>): Promise<boolean> {
  user.release();
  const path = besideLockFile(spec, 'users');
  let shared = 0;
  const look = async () => {
    const fd = openUsers(path);
    try {
      if (tryLockUsers(path, fd, 'ex')) {
        if (!isSameFile(fd, path)) return undefined;
        await end();
        return 'last';
      }
      shared = tryLockUsers(path, fd, 'question') ? shared + 1 : 0;
      // A LOCK_SH that is met six times in a row, which takes some 10 ms, is another user's, not somebody's question.
      return shared === 6 ? 'others' : undefined;
    } finally {
      closeSync(fd);
    }
  };
  // While `look` returns undefined, the watcher or another leaving user is ending the process.
  const left = await poll(look, { deadline: Deadline.after(stopLimitMs(spec)), pace: new Pace({ maxMs: 4 }) });
  if (left === undefined) throw stopTimeoutError(spec, []);
  return left === 'last';
}

function openUsers(path: string): number {
  return asLockUnavailable(path, 'lock', () => openLockFile(path, 0o600));
}

function tryLockUsers(path: string, fd: number, operation: Operation): boolean {
  return asLockUnavailable(path, 'lock', () => tryFlock(fd, operation));
}
