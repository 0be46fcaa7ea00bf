/**
 * An exclusive flock(2) on a file: acquire, wait, release, hand over, probe.
 *
 * Probing without harm: a question asks for LOCK_SH, so two questions never see each other; and an acquirer that is
 * refused LOCK_EX asks for LOCK_SH. Granted, only questions were in the way, and it tries again; refused, there is a
 * real holder and the answer is immediate.
 *
 * The file is never deleted. Somebody else may do it all the same, and then a second process could lock a new file of the
 * same name: so the locked descriptor is compared with what the path leads to, and opened anew on a difference.
 */
import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Deadline, Pace } from '../shared/deadline.js';
import { debugLog } from '../shared/debug.js';
import { errorCode, errorText, FlockProcessError, LockHeldError, LockUnavailableError } from '../shared/errors.js';
import { makeFolders } from '../shared/folders.js';
import { assertSupportedPlatform, tryFlock, unlock } from './flock.js';

const log = debugLog('lock');

/**
 * How every lock file is opened by a process that wants the lock. O_NONBLOCK: opening a FIFO must not block.
 * A descriptor that carries these flags can be told from one that flock(1) or another program opened.
 */
export const LOCK_OPEN_FLAGS = constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW;

/** A lasting LOCK_SH of somebody else counts as a holder after this time; a question's is gone after microseconds. */
const SHARED_LOCK_GRACE_MS = 100;

/** A file that is replaced faster than it can be locked is given up after as many attempts. */
const MAX_REOPENS = 1_000;

/** An exclusive flock(2) that this process holds on `path`. */
export interface FileLock {
  /** Absolute path of the lock file. */
  readonly path: string;
  /** The open descriptor that carries the lock (close-on-exec). A child that is given it in `stdio` shares the lock. */
  readonly fd: number;
  /** False after `release()` or `handOver()`. */
  readonly held: boolean;
  /** False when the file at `path` is no longer the locked one (deleted or replaced), or the lock is no longer held. */
  isIntact(): boolean;
  /** LOCK_UN and close: frees the lock, also for children that share it. Idempotent. Never deletes the file. */
  release(): void;
  /** Close this process's descriptor without unlocking: the lock then lives exactly as long as the children that share it. Idempotent. */
  handOver(): void;
  /** The same as `release()`. */
  [Symbol.dispose](): void;
}

export interface AcquireOptions {
  /** Permission bits of a lock file that has to be created, less the umask. @default 0o600 */
  mode?: number;
}

export interface WaitForLockOptions extends AcquireOptions {
  /** Milliseconds; 0 tries once. @default Infinity */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/**
 * Take the lock now or throw. Synchronous. Creates the file (never through a symbolic link) and missing parent folders (0700).
 * The lock is freed by `release()`, by `handOver()`, and by the kernel when this process ends, however it ends.
 * @throws LockHeldError when another holder has it, be it another lock object of this same process. A LOCK_SH that somebody keeps counts as a holder after 100 ms of retries
 * @throws LockUnavailableError when it cannot be opened or locked at all (EACCES, ELOOP, ENOLCK, not a regular file, …)
 * @throws TypeError when `path` is not a non-empty string without NUL
 */
export function acquireLock(path: string, options: AcquireOptions = {}): FileLock {
  const file = lockFileOptions(path, options);
  const grace = Deadline.after(SHARED_LOCK_GRACE_MS);
  for (;;) {
    const attempt = attemptLock(file);
    if (typeof attempt === 'object') return attempt;
    if (attempt === 'held' || grace.isOver) throw lockHeldError(file.path, attempt);
    pauseThread(Math.random());
  }
}

/**
 * Wait until the lock is free, then take it. Polls without blocking the thread; which of several waiters gets it is chance.
 * @throws LockHeldError after `timeoutMs`
 * @throws the signal's reason when it is aborted, before or while waiting
 * @throws LockUnavailableError | TypeError as acquireLock does
 */
export async function waitForLock(path: string, options: WaitForLockOptions = {}): Promise<FileLock> {
  const { timeoutMs = Number.POSITIVE_INFINITY, signal, ...acquireOptions } = options;
  if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) {
    throw new TypeError(`"timeoutMs" must be a number of milliseconds, 0 or more, not ${String(timeoutMs)}`);
  }
  signal?.throwIfAborted();
  const file = lockFileOptions(path, acquireOptions);
  const deadline = Deadline.after(timeoutMs);
  const grace = Deadline.after(Math.max(timeoutMs, SHARED_LOCK_GRACE_MS));
  const pace = new Pace();
  for (;;) {
    const attempt = attemptLock(file);
    if (typeof attempt === 'object') return attempt;
    const limit = attempt === 'held' ? deadline : grace;
    if (limit.isOver) throw lockHeldError(file.path, attempt);
    await pace.wait({ deadline: limit, signal });
  }
}

/** The same as `lock.release()`. */
export function releaseLock(lock: FileLock): void {
  lock.release();
}

/**
 * Does anybody hold the exclusive lock at this instant? Creates nothing; false when the file does not exist.
 * It never makes a concurrent `acquireLock` fail, and two concurrent calls never report each other.
 * @throws LockUnavailableError when that cannot be told (EACCES, not a regular file, …)
 * @throws TypeError when `path` is not a non-empty string without NUL
 */
export function isLocked(path: string): boolean {
  const file = lockFileOptions(path, {});
  let fd: number;
  try {
    fd = openRegularFile(file.path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW, 0);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw lockUnavailableError(file.path, 'examine', error);
  }
  try {
    return !tryFlock(fd, 'sh');
  } catch (error) {
    throw lockUnavailableError(file.path, 'examine', error);
  } finally {
    closeSync(fd);
  }
}

interface LockFile {
  path: string;
  mode: number;
}

function lockFileOptions(path: string, { mode = 0o600 }: AcquireOptions): LockFile {
  assertSupportedPlatform();
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new TypeError(`"path" must be a non-empty string without NUL, not ${JSON.stringify(path)}`);
  }
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    throw new TypeError(`"mode" must be permission bits between 0 and 0o777, not ${String(mode)}`);
  }
  return { path: resolve(path), mode };
}

/**
 * One attempt, without waiting.
 * @returns 'held': somebody has LOCK_EX. 'shared': nobody has, but somebody's LOCK_SH was in the way
 */
function attemptLock({ path, mode }: LockFile): FileLock | 'held' | 'shared' {
  try {
    for (let opened = 0; opened < MAX_REOPENS; opened += 1) {
      const fd = openLockFile(path, mode);
      let outcome: 'locked' | 'replaced' | 'held' | 'shared' | undefined;
      try {
        outcome = lockDescriptor(fd, path);
      } finally {
        if (outcome !== 'locked') closeSync(fd);
      }
      if (outcome === 'locked') {
        log('acquired %s (PID %d, descriptor %d)', path, process.pid, fd);
        return new HeldFileLock(path, fd);
      }
      if (outcome !== 'replaced') {
        log('refused %s: %s (PID %d, descriptor %d)', path, outcome, process.pid, fd);
        return outcome;
      }
    }
  } catch (error) {
    throw lockUnavailableError(path, 'lock', error);
  }
  throw lockUnavailableError(path, 'lock', new Error('the file is deleted or replaced again and again'));
}

function lockDescriptor(fd: number, path: string): 'locked' | 'replaced' | 'held' | 'shared' {
  if (tryFlock(fd, 'ex')) return isSameFile(fd, path) ? 'locked' : 'replaced';
  if (tryFlock(fd, 'sh')) return 'shared';
  // Whoever holds a file that is no longer there holds nothing that concerns this path.
  return isSameFile(fd, path) ? 'held' : 'replaced';
}

function openLockFile(path: string, mode: number): number {
  const open = () => openRegularFile(path, LOCK_OPEN_FLAGS | constants.O_CREAT, mode);
  let fd: number;
  try {
    fd = open();
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    makeFolders(dirname(path));
    fd = open();
  }
  return aboveInheritedDescriptors(fd, open);
}

/**
 * Descriptor 3 is where a managed process carries its lock, so who has the lock there is taken for one. A forked Node
 * child that disconnected its IPC channel gets 3 from its next open: keep that one busy until there is a higher one.
 */
function aboveInheritedDescriptors(fd: number, open: () => number): number {
  if (fd > 3) return fd;
  try {
    return aboveInheritedDescriptors(open(), open);
  } finally {
    closeSync(fd);
  }
}

function openRegularFile(path: string, flags: number, mode: number): number {
  const fd = openSync(path, flags | constants.O_NOCTTY, mode);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new Error('it is not a regular file');
}

function isSameFile(fd: number, path: string): boolean {
  const atPath: BigIntStats | undefined = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (atPath === undefined) return false;
  const opened = fstatSync(fd, { bigint: true });
  return atPath.ino === opened.ino && atPath.dev === opened.dev;
}

class HeldFileLock implements FileLock {
  readonly path: string;
  readonly fd: number;
  #held = true;

  constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  get held(): boolean {
    return this.#held;
  }

  isIntact(): boolean {
    return this.#held && isSameFile(this.fd, this.path);
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    try {
      unlock(this.fd);
    } finally {
      closeSync(this.fd);
    }
    log('released %s (PID %d, descriptor %d)', this.path, process.pid, this.fd);
  }

  handOver(): void {
    if (!this.#held) return;
    this.#held = false;
    closeSync(this.fd);
    log('handed over %s (PID %d, descriptor %d)', this.path, process.pid, this.fd);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Sleeps the whole thread: for a synchronous function there is no other way, and it is about a millisecond. */
function pauseThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function lockHeldError(path: string, by: 'held' | 'shared'): LockHeldError {
  const why = by === 'held' ? 'another holder has it' : 'somebody keeps a shared lock on it';
  return new LockHeldError(`Cannot lock "${path}": ${why}; lockHolders() names the processes`, { path });
}

function lockUnavailableError(path: string, verb: 'lock' | 'examine', error: unknown): Error {
  if (error instanceof FlockProcessError) return error;
  return new LockUnavailableError(`Cannot ${verb} "${path}": ${errorText(error)}`, { path, cause: error });
}
