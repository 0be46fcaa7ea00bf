/**
 * The locks on a journal say who is at work. A stop() or restart() has LOCK_SH until the process is down; the start() that won
 * the process's lock takes LOCK_EX for a moment. Every attempt opens the file by name: trimming puts another one in its place.
 */

import { closeSync, constants } from 'node:fs';
import { tryFlock } from '../lock/flock.js';
import { isSameFile } from '../lock/lock-file.js';
import { Deadline, Pace } from '../support/deadline.js';
import { closeOnce, openRegularFile } from '../support/files.js';

/** Whoever has LOCK_EX on a journal appends a line: microseconds, unless it is suspended in between. */
const SHARED_WAIT_MS = 1_000;

/** LOCK_SH that is still there after so long is a stop at work, not somebody's attempt. */
const AT_WORK_AFTER_MS = 10;

/** A journal that is replaced faster than it can be locked. */
const MAX_REOPENS = 100;

/** Does `act` with LOCK_EX on the journal; undefined when somebody else has a lock on it. @throws the system's error; what `act` throws */
export function underExclusiveLock<T>(path: string, act: () => T): T | undefined {
  for (let opened = 0; opened < MAX_REOPENS; opened += 1) {
    const fd = openRegularFile(path, constants.O_RDONLY);
    try {
      if (!tryFlock(fd, 'ex')) return undefined;
      if (isSameFile(fd, path)) return act();
    } finally {
      closeSync(fd);
    }
  }
  return undefined;
}

/** Is a stop() or restart() at work? @throws the system's error */
export async function isLockedShared(path: string): Promise<boolean> {
  const grace = Deadline.after(AT_WORK_AFTER_MS);
  const pace = new Pace({ maxMs: 4 });
  for (;;) {
    if (underExclusiveLock(path, () => true) === true) return false;
    if (grace.isOver) return true;
    await pace.wait();
  }
}

/** LOCK_SH until the function that is returned is called. @throws the system's error, and when somebody else keeps it locked */
export async function lockShared(path: string): Promise<() => void> {
  const deadline = Deadline.after(SHARED_WAIT_MS);
  const pace = new Pace({ maxMs: 4 });
  for (;;) {
    const fd = openRegularFile(path, constants.O_RDONLY);
    let isLocked = false;
    try {
      isLocked = tryFlock(fd, 'sh') && isSameFile(fd, path);
    } finally {
      if (!isLocked) closeSync(fd);
    }
    if (isLocked) return closeOnce(fd);
    if (deadline.isOver) throw new Error('another process keeps it locked');
    await pace.wait();
  }
}
