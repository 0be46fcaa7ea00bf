/**
 * NAME.down: stopped on purpose. daemontools' word for "not wanted".
 *
 * A stop() creates the file, gives it a new time and holds LOCK_SH on it until it resolves: a mark with a living lock is a
 * stop at work, one without is a stop that is over or died. Only the start() that won the process's lock removes it, and
 * only under LOCK_EX on it, so a stop at work never loses its mark. Each stop makes another mark of it (inode and time),
 * which is how a start tells the one that it found at its call from one that came later. A mark that is removed becomes
 * NAME.down.past, so that a start that was busy meanwhile still learns of that stop.
 *
 * A restart() creates it with the word `restart` in it, in one step by link(2): with nobody on it such a mark means a
 * restart that died between its halves, and the process is still wanted.
 */

import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  linkSync,
  openSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tryFlock } from '../lock/flock.js';
import { isSameFile } from '../lock/lock-file.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorCode } from '../support/errors.js';
import { closeOnce } from '../support/files.js';
import { type Mark, markOf, pastOf, RESTART, readMark, touchForward } from './mark-file.js';

export { type Mark, readMark, readPastMark } from './mark-file.js';

const log = debugLog('down');

/** Whoever has LOCK_EX on a mark only looks at it or removes it: microseconds, unless it is stopped in between. */
const MARK_WAIT_MS = 1_000;

/** A shared lock that is still there after so long is a stop at work, not somebody's look. */
const LOOK_GRACE_MS = 10;

/** A mark that comes and goes faster than it can be locked is left to whoever is at it. */
const MAX_REOPENS = 100;

/** A mark under LOCK_SH: this process's stop, or restart, is at work. */
export interface HeldMark {
  readonly mark: Mark;
  /** The stop is over; the mark stays. Idempotent. */
  release(): void;
}

/** Is it the same mark? A restart's counts as known: it ends nobody's start. */
export function isKnownMark(mark: Mark, known: Mark | undefined): boolean {
  return mark.isRestart || mark.generation === known?.generation;
}

/** A stop() begins: the mark is there, new, and held when this resolves. @throws the system's error when it cannot be written */
export async function markDown(path: string): Promise<HeldMark> {
  const fd = await holdShared(path, constants.O_CREAT);
  try {
    if (fstatSync(fd).size > 0) ftruncateSync(fd);
    touchForward(fd);
    log('marked %s', path);
    return held(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A restart begins, with a mark of its own. Undefined when there is a mark already. @throws the system's error */
export function markRestart(path: string): HeldMark | undefined {
  const draft = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  const fd = openSync(draft, 'wx+', 0o600);
  try {
    writeFileSync(fd, RESTART);
    tryFlock(fd, 'sh');
    linkSync(draft, path);
    log('marked %s for a restart', path);
    return held(fd);
  } catch (error) {
    closeSync(fd);
    if (errorCode(error) !== 'EEXIST') throw error;
  } finally {
    unlinkSync(draft);
  }
  return undefined;
}

/** Take part in a stop that somebody began: the mark stays as it is. Undefined when it is gone. */
export async function joinMark(path: string): Promise<HeldMark | undefined> {
  try {
    return held(await holdShared(path, 0));
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/** Does somebody's stop hold the mark at this instant? */
export async function isStopAtWork(path: string): Promise<boolean> {
  const grace = Deadline.after(LOOK_GRACE_MS);
  const pace = new Pace({ maxMs: 4 });
  for (;;) {
    const outcome = underExclusiveLock(path, () => 'free');
    if (outcome !== 'in use') return false;
    if (grace.isOver) return true;
    await pace.wait();
  }
}

/**
 * Remove the mark, as the first act under the process's lock.
 * @returns 'in use' when a stop is at work on it; 'changed' when it is another one than `known`
 */
export function clearMark(path: string, known: Mark | undefined): 'cleared' | 'in use' | 'changed' {
  const outcome = underExclusiveLock(path, (mark) => {
    if (!isKnownMark(mark, known)) return 'changed';
    if (mark.isRestart) unlinkSync(path);
    else renameSync(path, pastOf(path));
    log('cleared %s', path);
    return 'cleared';
  });
  return outcome ?? 'cleared';
}

/** Undefined: there is no mark. */
function underExclusiveLock<T>(path: string, act: (mark: Mark) => T): T | 'in use' | undefined {
  for (let opened = 0; opened < MAX_REOPENS; opened += 1) {
    const fd = openMark(path);
    if (fd === undefined) return undefined;
    try {
      if (!tryFlock(fd, 'ex')) return 'in use';
      if (isSameFile(fd, path)) return act(markOf(fd));
    } finally {
      closeSync(fd);
    }
  }
  return 'in use';
}

async function holdShared(path: string, flags: number): Promise<number> {
  const deadline = Deadline.after(MARK_WAIT_MS);
  const pace = new Pace({ maxMs: 4 });
  for (;;) {
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW | flags, 0o600);
    let isHeld = false;
    try {
      if (!fstatSync(fd).isFile()) throw new Error(`"${path}" is not a regular file`);
      isHeld = tryFlock(fd, 'sh') && isSameFile(fd, path);
    } finally {
      if (!isHeld) closeSync(fd);
    }
    if (isHeld) return fd;
    if (deadline.isOver) throw new Error(`"${path}" is kept locked by another process`);
    await pace.wait();
  }
}

function held(fd: number): HeldMark {
  return { mark: markOf(fd), release: closeOnce(fd) };
}

/** LOCK_EX needs no more than reading: the mark of a stop by another user may be readable alone. */
function openMark(path: string): number | undefined {
  if (readMark(path) === undefined) return undefined;
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}
