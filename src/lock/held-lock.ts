/** A lock that this process holds, until it is released or handed over. */

import { closeSync } from 'node:fs';
import { debugLog } from '../support/debug.js';
import { errorText, FlockProcessError, LockUnavailableError } from '../support/errors.js';
import { unlock } from './flock.js';
import { isSameFile } from './lock-file.js';

const log = debugLog('lock');

/** An exclusive flock(2) that this process holds on `path`. */
export interface FileLock {
  /** Absolute path of the lock file. */
  readonly path: string;
  /** The open descriptor that carries the lock (close-on-exec). A child that is given it in `stdio` shares the lock. */
  readonly fd: number;
  /** False after `release()` or `handOver()`. */
  readonly held: boolean;
  /**
   * False when the file at `path` is no longer the locked one (deleted or replaced), or the lock is no longer held.
   * @throws LockUnavailableError when that cannot be told (EACCES, …)
   */
  isIntact(): boolean;
  /**
   * LOCK_UN and close: frees the lock, also for children that share it. Idempotent. Never deletes the file.
   * @throws LockUnavailableError when it cannot be unlocked; it is closed all the same, and children that share it keep it
   */
  release(): void;
  /** Close this process's descriptor without unlocking: the lock then lives exactly as long as the children that share it. Idempotent. */
  handOver(): void;
  /** The same as `release()`. */
  [Symbol.dispose](): void;
}

export class HeldFileLock implements FileLock {
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
    try {
      return this.#held && isSameFile(this.fd, this.path);
    } catch (error) {
      throw lockUnavailableError(this.path, 'examine', error);
    }
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    try {
      unlock(this.fd);
    } catch (error) {
      throw lockUnavailableError(this.path, 'unlock', error);
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

/** An error of the system, as one of ours that names the file. */
export function lockUnavailableError(path: string, verb: 'lock' | 'unlock' | 'examine', error: unknown): Error {
  if (error instanceof FlockProcessError) return error;
  return new LockUnavailableError(`Cannot ${verb} "${path}": ${errorText(error)}`, { path, cause: error });
}
