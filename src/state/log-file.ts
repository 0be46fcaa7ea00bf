/** The log of a managed process: opened for it, moved away when it is large, read back for errors and `logTail`. */

import { closeSync, constants, fstatSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { makeFolders } from '../support/files.js';

const log = debugLog('log');

const ROTATE_OVER_BYTES = 10 * 1024 * 1024;
const TAIL_BYTES = 64 * 1024;

/** The output of this start begins at `offset`. */
export type OpenLog = { fd: number; offset: number; device: number; inode: number };

/** Open for appending; the caller closes it. @throws the system's error */
export function openLog(logFile: string): OpenLog {
  makeFolders(dirname(logFile));
  const former = statSync(logFile, { throwIfNoEntry: false });
  if (former?.isFile() && former.size > ROTATE_OVER_BYTES) renameSync(logFile, `${logFile}.1`);
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

/** The last lines after `offset`, oldest first, of the last 64 KiB alone. None when there is no log, or it cannot be read. */
export function readLogTail(logFile: string, lines: number, { offset = 0 }: { offset?: number } = {}): string[] {
  if (lines === 0) return [];
  try {
    const text = readEnd(logFile, offset);
    return text === '' ? [] : text.replace(/\n$/, '').split('\n').slice(-lines);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') log('cannot read %s: %s', logFile, errorText(error));
    return [];
  }
}

/** How many lines of the log a message repeats, and how much of each. */
const REASON_LINES = 10;
const REASON_LENGTH = 300;

/** Where a stack leads through, in the traces of Node, Java, Python and Go, and what stands around them. */
const TRACE =
  /^\s+at |^\s+\.\.\. \d+ more|^Node\.js v\d|^\s*[~^]+$|^\s*File "|^Traceback |^\s*\[Previous line |^goroutine \d|^created by |^exit status \d/;

/** Go names a function, and its place in the next line; Python has the line of the program, where it is at hand, after its place. */
const GO_PLACE = /^\t\S+:\d+( \+0x[\da-f]+)?$/;
const PYTHON_PLACE = /^\s*File ".*", line \d+/;

/** Of the lines of a log, or of its end, the last ones that say why: not the trace that follows or precedes them, nor colours. */
export function reasonLines(logged: readonly string[]): string[] {
  const lines = logged.map((line) => stripVTControlCharacters(line).trimEnd()).filter((line) => line !== '');
  const isTrace = (line: string, index: number) =>
    TRACE.test(line) ||
    GO_PLACE.test(line) ||
    GO_PLACE.test(lines[index + 1] ?? '') ||
    (PYTHON_PLACE.test(lines[index - 1] ?? '') && line.startsWith('    '));
  const reasons = lines.filter((line, index) => !isTrace(line, index));
  return (reasons.length === 0 ? lines : reasons).slice(-REASON_LINES).map((line) => line.slice(0, REASON_LENGTH));
}

function readEnd(path: string, offset: number): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const file = fstatSync(fd);
    if (!file.isFile() || file.size <= offset) return '';
    const start = Math.max(offset, file.size - TAIL_BYTES);
    const bytes = Buffer.alloc(file.size - start);
    const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, start));
    if (start === offset) return text;
    // A line that was cut stays only when there is no other, from its first whole character on: U+FFFD is none.
    return text.replace(/^[^\n]*\n(?=.)/s, '').replace(/^\uFFFD{1,3}/, '');
  } finally {
    closeSync(fd);
  }
}
