/** The log of a managed process: opened for the process, rotated when large, read back for errors and `logTail`. */

import { closeSync, constants, existsSync, fstatSync, openSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText } from '../support/errors.js';
import { makeFolders } from '../support/files.js';
import { isPort } from '../support/options.js';
import type { CompleteSpec } from './process-spec.js';

const log = debugLog('log');

/** How much of the end of a log is read. */
export const TAIL_BYTES = 64 * 1024;

/** The output of this start begins at `offset`. */
export type OpenLog = { fd: number; offset: number; device: number; inode: number };

/** Opens the log for appending, and rotates a large one first; the caller closes it. @throws the system's error */
export function openLog({ logFile, logRotation }: Pick<CompleteSpec, 'logFile' | 'logRotation'>): OpenLog {
  makeFolders(dirname(logFile));
  const former = statSync(logFile, { throwIfNoEntry: false });
  if (former?.isFile() && former.size > logRotation.overBytes) rotate(logFile, logRotation.keep);
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

/** Moves the oldest file first, up to the first number that is free: none is lost before there are `keep`. */
function rotate(logFile: string, keep: number): void {
  const pathOf = (moved: number) => (moved === 0 ? logFile : `${logFile}.${moved}`);
  let last = 0;
  while (last < keep && existsSync(pathOf(last))) last += 1;
  if (last === 0) rmSync(logFile);
  for (; last > 0; last -= 1) renameSync(pathOf(last - 1), pathOf(last));
}

/** The last lines after `offset`, oldest first, of the last 64 KiB only. Empty for a missing or unreadable log. */
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

/** The lines of a stack trace in Node, Java, Python and Go, and what stands around it. */
const TRACE =
  /^\s+at |^\s+\.\.\. \d+ more|^Node\.js v\d|^\s*[~^]+$|^\s*File "|^Traceback |^\s*\[Previous line |^goroutine \d|^created by |^exit status \d/;

/** Go names a function, and its place in the next line; Python prints the source line, if it can, after its place. */
const GO_PLACE = /^\t\S+:\d+( \+0x[\da-f]+)?$/;
const PYTHON_PLACE = /^\s*File ".*", line \d+/;

/** The last lines of a log that tell why something failed: without colours, and the trace before or after them. */
export function reasonLines(logged: readonly string[]): string[] {
  const lines = logged.map((line) => stripVTControlCharacters(line).trimEnd()).filter((line) => line !== '');
  const isTrace = (line: string, index: number) =>
    TRACE.test(line) ||
    GO_PLACE.test(line) ||
    GO_PLACE.test(lines[index + 1] ?? '') ||
    (PYTHON_PLACE.test(lines[index - 1] ?? '') && line.startsWith('    '));
  const reasons = lines.filter((line, index) => !isTrace(line, index));
  return (reasons.length === 0 ? lines : reasons).slice(-REASON_LINES).map(shorten);
}

/** Keeps both ends: when a Go program has wrapped an error again and again, the end is the reason. */
function shorten(line: string): string {
  if (line.length <= REASON_LENGTH) return line;
  return `${line.slice(0, REASON_LENGTH / 2)} … ${line.slice(-REASON_LENGTH / 2)}`;
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
    // A line that was cut is kept only if it is the only one, and without the rest of a cut character (U+FFFD).
    return text.replace(/^[^\n]*\n(?=.)/s, '').replace(/^\uFFFD{1,3}/, '');
  } finally {
    closeSync(fd);
  }
}

/** No more of a line is examined, nor kept while its end is missing. */
const LINE_BYTES = 64 * 1024;

/** One search reads no more, so that the event loop has its turn; the next search goes on from there. */
const LOOK_BYTES = 4 * 1024 * 1024;

export interface LineSearch {
  /** The process whose output is searched. */
  readonly process: string;
  /** The log was read up to here. */
  position: number;
  /** The beginning of a line whose end was not there yet. */
  rest: Buffer;
  /** The port, when the line names one. */
  found?: { readonly port?: number } | undefined;
}

/** Continues the search for a ready line, in the log that the `spawn` line of the journal names. */
export function searchReadyLine(
  path: string,
  { device, inode }: Omit<OpenLog, 'fd'>,
  search: LineSearch,
  readyLine: string | RegExp,
): void {
  const match = matcher(readyLine);
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const file = fstatSync(fd);
    // After a rotation another file has this name.
    if (!file.isFile() || file.dev !== device || file.ino !== inode) return;
    if (file.size < search.position) Object.assign(search, { position: 0, rest: Buffer.alloc(0) });
    const bytes = Buffer.alloc(Math.min(file.size - search.position, LOOK_BYTES));
    const count = readSync(fd, bytes, 0, bytes.length, search.position);
    search.position += count;
    search.found = findIn(Buffer.concat([search.rest, bytes.subarray(0, count)]), search, match);
  } catch (error) {
    // ENOENT, EACCES: a later search may find it.
    log('cannot read %s: %s', path, errorText(error));
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function findIn(text: Buffer, search: LineSearch, match: (line: string) => LineSearch['found']): LineSearch['found'] {
  let begin = 0;
  for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', begin)) {
    const line = text.toString('utf8', begin, Math.min(end, begin + LINE_BYTES));
    const found = match(stripVTControlCharacters(line).replace(/\r$/, ''));
    if (found !== undefined) return found;
    begin = end + 1;
  }
  search.rest = Buffer.from(text.subarray(begin, begin + LINE_BYTES));
  return undefined;
}

/** Uses a RegExp of our own, without a `lastIndex`. A line whose group `port` is not a port is no match. */
function matcher(readyLine: string | RegExp): (line: string) => LineSearch['found'] {
  if (typeof readyLine === 'string') return (line) => (line.includes(readyLine) ? {} : undefined);
  const pattern = new RegExp(readyLine.source, readyLine.flags.replace(/[gy]/g, ''));
  return (line) => {
    const match = pattern.exec(line);
    if (match === null || !('port' in { ...match.groups })) return match === null ? undefined : {};
    const port = Number(match.groups?.port);
    return isPort(port) ? { port } : undefined;
  };
}
