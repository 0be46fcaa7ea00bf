/**
 * An exclusive flock(2) on a file: acquire it, wait for it.
 *
 * A question asks for LOCK_SH (questions.ts). An acquirer that is refused LOCK_EX asks for LOCK_SH, too: if it is
 * granted, only questions were in the way, and the acquirer tries again; if it is refused, there is a real holder.
 *
 * The file is never deleted. When somebody else deletes it, a second process could lock a new file of the same name: so
 * the locked descriptor is compared with the file at the path, which is opened anew on a difference.
 */

import { closeSync } from 'node:fs';
import { Deadline, linkSignals, Pace, sleep, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { assertSupportedPlatform, LockHeldError, textOfPids } from '../support/errors.js';
import { newAbort, now, random } from '../support/globals.js';
import { check, checkNumber, isFunction, optional } from '../support/options.js';
import { canLockShared, flockWaiter, tryFlock } from './flock.js';
import { type FileLock, heldLock } from './held-lock.js';
import { asLockUnavailable, isSameFile, type LockFile, lockFileOf, openLockFile } from './lock-file.js';
import { lockHolders, sharedLockPids } from './questions.js';

export type { FileLock } from './held-lock.js';

const log = debugLog('lock');

/**
 * A LOCK_SH that is met in so many attempts in a row, which takes more than 200 ms, counts as a holder. Attempts are
 * counted, not time: a process that the system keeps from running makes few attempts in that time. Where more processes
 * want to run than the machine has cores, a question can be kept from giving its LOCK_SH back for 140 ms.
 */
const SHARED_LOCK_ATTEMPTS = 500;

/** How often a waiter compares its file with the one at the path: on a deleted or replaced one it waits in vain. */
const COMPARE_EVERY_MS = 1_000;

/** Questions never keep the kernel from granting LOCK_EX to a waiting helper for as long as this. */
const SHARED_LOCK_MS = 2_000;

/** In how many pieces acquireLock() waits in the kernel for that time: after each it checks for a holder. */
const KERNEL_WAITS = 4;

/** How many attempts are made on a file that is replaced faster than it can be locked. */
const MAX_REOPENS = 1_000;

/** How `acquireLock` makes a lock file that is missing. */
export interface AcquireOptions {
  /** Permission bits of a lock file that has to be created, less the umask. @default 0o600 */
  mode?: number;
}

/** How long `waitForLock` waits, and how it makes a lock file that is missing. */
export interface WaitForLockOptions extends AcquireOptions {
  /** Milliseconds; 0 tries once. @default Infinity */
  timeoutMs?: number;
  /** Gives up the wait; the call rejects with its reason. */
  signal?: AbortSignal;
  /** Called once, when the lock is not free at once: with the PIDs of all holders, as far as they can be seen. */
  onWait?: (holders: readonly number[]) => void;
}

/**
 * Take the lock now or throw. Synchronous. Creates the file (never through a symbolic link) and missing parent folders
 * (0700). The lock is freed by `release()`, by `handOver()`, and by the kernel when this process ends, however it ends.
 * @throws LockHeldError when there is another holder, be it another lock object of this same process. A LOCK_SH that
 * somebody keeps counts as a holder after a quarter of a second of retries; without the addon, after two seconds
 * @throws LockUnavailableError when the file cannot be opened or locked at all (EACCES, ELOOP, ENOLCK, not a regular
 * file, …)
 * @throws TypeError when `path` is not a non-empty string without NUL
 */
export function acquireLock(path: string, options: AcquireOptions = {}): FileLock {
  const file = lockFileOf(path, options);
  const result = lockOrRefusal(file);
  if (typeof result === 'string') throw refusedError(file, result);
  return result;
}

/**
 * Wait until the lock is free, then take it. Blocks no thread: the addon tries again and again, and without it one
 * helper process waits in the kernel. Which of several waiters gets the lock is chance.
 * @throws LockHeldError after `timeoutMs`
 * @throws the signal's reason when it is aborted, before or while waiting; what `onWait` throws
 * @throws LockUnavailableError | TypeError as acquireLock does
 */
export async function waitForLock(path: string, options: WaitForLockOptions = {}): Promise<FileLock> {
  const { timeoutMs = Number.POSITIVE_INFINITY, signal } = options;
  let { onWait } = options;
  checkNumber('timeoutMs', timeoutMs, { least: 0, unit: 'milliseconds' });
  check('onWait', onWait, optional(isFunction), 'a function');
  const file = lockFileOf(path, options);
  const deadline = Deadline.after(timeoutMs);
  // A wait is lengthened by a fifth at most, and a long one costs an attempt in a tenth of a second.
  const pace = new Pace({ maxMs: 100, growth: 1.25 });
  for (let sharedLocks = 0; ; ) {
    throwIfAborted(signal);
    const result = attemptLock(file);
    if (typeof result !== 'string') return result;
    sharedLocks = result === 'holder' ? 0 : sharedLocks + 1;
    const isRefused = result === 'holder' || sharedLocks >= SHARED_LOCK_ATTEMPTS;
    const isLast = deadline.isOver; // The look for the holders can outlast a short time.
    if (isRefused && onWait !== undefined) {
      onWait(result === 'holder' ? await lockHolders(path).catch(() => []) : sharedLockPids(path));
      onWait = undefined;
      throwIfAborted(signal);
    }
    if (isRefused && isLast) throw refusedError(file, result);
    const began = now();
    // Even when time is over, a question that is in the way is no holder.
    const limit = deadline.isOver && !isRefused ? Deadline.after(SHARED_LOCK_MS) : deadline;
    const lock = await waitInKernel(file, { deadline: limit, signal });
    if (lock !== undefined) return lock;
    // What kept the kernel from granting the lock for so long is no question, but a lock that somebody keeps.
    if (now() - began >= SHARED_LOCK_MS) sharedLocks = SHARED_LOCK_ATTEMPTS;
    else if (isRefused) await pace.wait({ deadline, signal });
    else await sleep(1, signal);
  }
}

/** Wait for the lock, do the work, release it, however the work ends. @throws what waitForLock and `work` throw */
export async function withLock<T>(
  path: string,
  work: (lock: FileLock) => T | Promise<T>,
  options: WaitForLockOptions = {},
): Promise<T> {
  check('work', work, isFunction, 'a function');
  const lock = await waitForLock(path, options);
  try {
    return await work(lock);
  } finally {
    lock.release();
  }
}

/** Waits in a helper. Undefined with the addon, when the file was replaced, time is over, or the helper was killed. */
async function waitInKernel(
  { path, mode }: LockFile,
  { deadline, signal }: { deadline: Deadline; signal: AbortSignal | undefined },
): Promise<FileLock | undefined> {
  const wait = flockWaiter();
  if (wait === undefined) return undefined;
  const fd = asLockUnavailable(path, 'lock', () => openLockFile(path, mode));
  const over = newAbort();
  const linked = linkSignals(over.signal, signal);
  const compare = async () => {
    while (!deadline.isOver && isSameFile(fd, path)) {
      await sleep(Math.min(COMPARE_EVERY_MS, deadline.remainingMs), linked.signal);
    }
  };
  let lock: FileLock | undefined;
  try {
    // The next attempt tells what is wrong with the path.
    void compare().then(
      () => over.abort(),
      () => over.abort(),
    );
    const isGranted = await wait(fd, linked.signal);
    const isIntact = isGranted && asLockUnavailable(path, 'lock', () => isSameFile(fd, path));
    if (isIntact && !signal?.aborted) lock = heldLock(path, fd);
    return lock;
  } finally {
    over.abort();
    linked.clear();
    if (lock === undefined) closeSync(fd);
  }
}

/** The same as `acquireLock(path)`, with undefined instead of a LockHeldError: it does not look for the holders. */
export function tryAcquireLock(path: string): FileLock | undefined {
  const result = lockOrRefusal(lockFileOf(path, {}));
  return typeof result === 'string' ? undefined : result;
}

/** Does somebody, perhaps unseen, keep a shared lock that refuses an acquireLock()? It makes the same attempts. */
export function probeSharedLock(path: string): boolean {
  const result = lockOrRefusal(lockFileOf(path, {}));
  if (typeof result !== 'string') result.handOver();
  return result === 'shared lock';
}

/** The same as `lock.release()`. */
export function releaseLock(lock: FileLock): void {
  assertSupportedPlatform();
  lock.release();
}

/** What was in the way: a LOCK_EX, or, without one, a LOCK_SH. */
type Refusal = 'holder' | 'shared lock';

function lockOrRefusal(file: LockFile): FileLock | Refusal {
  for (let attempts = 1; ; attempts += 1) {
    const result = attemptLock(file, attempts === 1 ? undefined : SHARED_LOCK_MS / KERNEL_WAITS);
    if (typeof result !== 'string') return result;
    // Without the addon every attempt but the first waits in the kernel.
    const most = flockWaiter() === undefined ? SHARED_LOCK_ATTEMPTS : 1 + KERNEL_WAITS;
    if (result === 'holder' || attempts >= most) return result;
    // A synchronous function can only put its whole thread to sleep.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, random());
  }
}

function attemptLock({ path, mode }: LockFile, patienceMs?: number): FileLock | Refusal {
  return asLockUnavailable(path, 'lock', () => {
    for (let opened = 0; opened < MAX_REOPENS; opened += 1) {
      const fd = openLockFile(path, mode);
      let outcome: 'locked' | 'replaced' | Refusal | undefined;
      try {
        outcome = lockDescriptor(fd, path, patienceMs);
      } finally {
        if (outcome !== 'locked') closeSync(fd);
      }
      if (outcome === 'locked') return heldLock(path, fd);
      if (outcome !== 'replaced') return outcome;
    }
    throw new Error('the file is deleted or replaced again and again');
  });
}

function lockDescriptor(fd: number, path: string, patienceMs?: number): 'locked' | 'replaced' | Refusal {
  if (tryFlock(fd, 'ex', patienceMs)) return isSameFile(fd, path) ? 'locked' : 'replaced';
  if (canLockShared(fd)) return 'shared lock';
  // The holder of a file that is no longer at this path does not matter here.
  return isSameFile(fd, path) ? 'holder' : 'replaced';
}

function refusedError({ path }: LockFile, by: Refusal): LockHeldError {
  log('refused %s: %s (PID %d)', path, by, process.pid);
  const kept = () => `a shared lock is kept on it by ${textOfPids(sharedLockPids(path))}`;
  const why = by === 'holder' ? 'another holder has it; lockHolders() names the processes' : kept();
  return new LockHeldError(`Cannot lock "${path}": ${why}`, { path });
}
