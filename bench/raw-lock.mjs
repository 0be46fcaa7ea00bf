/**
 * The lower bound of a lock call: the same system calls as the library makes, with its flags and options, through `node:fs` and raw
 * fs-ext, with nothing around them. `lock-calls.mjs` compares the two.
 */
// @ts-check
import { closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';

const { flockSync } = createRequire(import.meta.url)('fs-ext');

const FLAGS = constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;
const BIG = { bigint: /** @type {const} */ (true) };

/** acquireLock() and releaseLock(). @param {string} path */
export function acquireAndRelease(path) {
  const fd = openSync(path, constants.O_RDWR | FLAGS, 0o600);
  if (!fstatSync(fd).isFile()) throw new Error(path);
  flockSync(fd, 'exnb');
  const atPath = lstatSync(path, BIG);
  const opened = fstatSync(fd, BIG);
  if (atPath.ino !== opened.ino || atPath.dev !== opened.dev) throw new Error(path);
  flockSync(fd, 'un');
  closeSync(fd);
}

/** isLocked(). @param {string} path */
export function ask(path) {
  const fd = openSync(path, constants.O_RDONLY | FLAGS, 0o600);
  if (!fstatSync(fd).isFile()) throw new Error(path);
  let isLocked = false;
  try {
    flockSync(fd, 'shnb');
    flockSync(fd, 'un');
  } catch {
    // EAGAIN: another process has the lock.
    isLocked = true;
  }
  closeSync(fd);
  return isLocked;
}
