/** NAME.down as a file: what stands in it, and how one mark is told from another. The rules are in down-mark.ts. */

import { type BigIntStats, closeSync, constants, fstatSync, futimesSync, lstatSync, openSync, readSync } from 'node:fs';
import { errorCode } from '../support/errors.js';

/** The word in a restart's mark; a stop's is empty. */
export const RESTART = 'restart';

export interface Mark {
  /** Differs from stop to stop. */
  readonly generation: string;
  /** Made by a restart(): it is still wanted. */
  readonly isRestart: boolean;
}

/** Undefined when there is none. What cannot be a mark (a folder, a link) is none. @throws the system's error (EACCES, …) */
export function readMark(path: string): Mark | undefined {
  const file = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (!file?.isFile()) return undefined;
  if (file.size === 0n) return { generation: generationOf(file), isRestart: false };
  return readAtOnce(path);
}

/** The stop whose mark was cleared last: also one that came and was undone between two looks is seen. */
export function readPastMark(path: string): string | undefined {
  const file = lstatSync(pastOf(path), { bigint: true, throwIfNoEntry: false });
  return file === undefined ? undefined : generationOf(file);
}

/** Time and word of one and the same file: another one can come in its place between two looks. */
function readAtOnce(path: string): Mark | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
  try {
    return markOf(fd);
  } finally {
    closeSync(fd);
  }
}

function wordAt(fd: number): string {
  const word = Buffer.alloc(RESTART.length);
  return word.toString('latin1', 0, readSync(fd, word, 0, word.length, 0));
}

/** The mark that is open at this descriptor. */
export function markOf(fd: number): Mark {
  return { generation: generationOf(fstatSync(fd, { bigint: true })), isRestart: wordAt(fd) === RESTART };
}

function generationOf({ dev, ino, mtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${mtimeNs}`;
}

/** What becomes of a mark that is cleared. */
export function pastOf(path: string): string {
  return `${path}.past`;
}

/** A later time than before, even when the wall clock was set back, and not the one of another stop in the same millisecond. */
export function touchForward(fd: number): void {
  const nowMs = Math.max(Date.now(), fstatSync(fd).mtimeMs + 1) + Math.random();
  futimesSync(fd, nowMs / 1000, nowMs / 1000);
}
