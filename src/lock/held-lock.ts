import { closeSync } from 'node:fs';
import { debugLog } from '../support/debug.js';
import { tryFlock } from './flock.js';
import { asLockUnavailable, isSameFile } from './lock-file.js';

const log = debugLog('lock');

/** The descriptor at which a managed process inherits the lock. */
export const LOCK_FD = 3;

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
   * @throws LockUnavailableError when LOCK_UN fails; the file is closed all the same, and children that share the lock
   * keep it
   */
  release(): void;
  /** Close this process's descriptor without unlocking: the lock then lives exactly as long as the children that share it. Idempotent. */
  handOver(): void;
  /** The same as `release()`. */
  [Symbol.dispose](): void;
}

export function heldLock(path: string, fd: number): FileLock {
  let held = true;
  const logAs = (what: string) => log('%s %s (PID %d, descriptor %d)', what, path, process.pid, fd);
  const letGo = (what: 'released' | 'handed over') => {
    if (!held) return;
    held = false;
    try {
      if (what === 'released') asLockUnavailable(path, 'unlock', () => tryFlock(fd, 'un'));
    } finally {
      closeSync(fd);
    }
    logAs(what);
  };
  logAs('acquired');
  return {
    path,
    fd,
    get held() {
      return held;
    },
    isIntact: () => asLockUnavailable(path, 'examine', () => held && isSameFile(fd, path)),
    release: () => letGo('released'),
    handOver: () => letGo('handed over'),
    [Symbol.dispose]: () => letGo('released'),
  };
}
