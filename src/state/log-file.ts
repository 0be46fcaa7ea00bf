/** The log of a managed process: opened for it, moved away when it is large, read back for errors and `logTail`. */

import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { makeFolders } from '../support/files.js';

const log = debugLog('log');

/** A log over this size is moved to `.1` at a start. */
const ROTATE_OVER_BYTES = 10 * 1024 * 1024;

/** The end is read in such steps until there are enough lines, */
const TAIL_STEP_BYTES = 64 * 1024;

/** and no further back than this: of a line that is longer, its end is given. */
const TAIL_MAX_BYTES = 16 * 1024 * 1024;

const LINE_END = 0x0a;

export interface OpenLog {
  readonly fd: number;
  /** Where this start's output begins. */
  readonly offset: number;
  readonly device: number;
  readonly inode: number;
}

/** Open for appending; the caller closes it. @throws the system's error */
export function openLog(logFile: string): OpenLog {
  makeFolders(dirname(logFile));
  rotate(logFile);
  // O_NONBLOCK: opening a FIFO without a reader must fail, not block.
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOCTTY;
  const fd = openSync(logFile, flags, 0o600);
  const file = fstatSync(fd);
  if (file.isFile() || file.isCharacterDevice()) {
    return { fd, offset: file.isFile() ? file.size : 0, device: file.dev, inode: file.ino };
  }
  closeSync(fd);
  throw new Error(`"${logFile}" is not a regular file`);
}

/** The last lines, oldest first; of those after `offset` alone. Empty when there is no log, or it cannot be read. */
export function readLogTail(logFile: string, lines: number, { offset = 0 }: { offset?: number } = {}): string[] {
  if (lines === 0) return [];
  try {
    const text = readEnd(logFile, lines, offset);
    return text === '' ? [] : text.replace(/\n$/, '').split('\n').slice(-lines);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') log('cannot read %s: %s', logFile, errorText(error));
    return [];
  }
}

function rotate(logFile: string): void {
  const file: BigIntStats | undefined = statSync(logFile, { bigint: true, throwIfNoEntry: false });
  if (file?.isFile() && file.size > ROTATE_OVER_BYTES) renameSync(logFile, `${logFile}.1`);
}

/** At least so many lines of the end, when there are as many after `offset`. */
function readEnd(path: string, lines: number, offset: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const file = fstatSync(fd);
    if (!file.isFile()) return '';
    const limit = Math.max(offset, file.size - TAIL_MAX_BYTES);
    const steps: Buffer[] = [];
    let lineEnds = 0;
    // One more than the lines: the last one may be the end of the last line.
    for (let start = file.size; start > limit && lineEnds <= lines; ) {
      const step = Buffer.alloc(Math.min(TAIL_STEP_BYTES, start - limit));
      start -= step.length;
      const read = step.subarray(0, readSync(fd, step, 0, step.length, start));
      steps.unshift(read);
      lineEnds += read.reduce((count, byte) => (byte === LINE_END ? count + 1 : count), 0);
    }
    return dropPartOfCharacter(Buffer.concat(steps)).toString('utf8');
  } finally {
    closeSync(fd);
  }
}

/** A UTF-8 character that was cut leaves up to three bytes of the form 10xxxxxx. */
function dropPartOfCharacter(bytes: Buffer): Buffer {
  const first = bytes.subarray(0, 3).findIndex((byte) => byte >> 6 !== 0b10);
  return first > 0 ? bytes.subarray(first) : bytes;
}
