/**
 * The file behind a journal: made, locked, read and written. Every call opens it by name, since trimming puts another file in
 * its place, and throws a StateFileError for an error of the system.
 */

import {
  type BigIntStats,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  linkSync,
  lstatSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { tryFlock } from '../lock/flock.js';
import { isSameFile } from '../lock/lock-file.js';
import { Deadline, Pace, poll } from '../support/deadline.js';
import { errorCode, errorText, FlockProcessError, StateFileError } from '../support/errors.js';
import { closeOnce, makeFolders, openRegularFile, replaceFile, withRegularFile } from '../support/files.js';
import { random } from '../support/globals.js';
import { type JournalLine, JournalState } from './journal-state.js';

/** What was read of a journal, and when it need not be read again. */
export interface Seen {
  readonly file: Pick<BigIntStats, 'dev' | 'ino' | 'ctimeNs'>;
  readonly size: number;
  readonly state: JournalState;
  /** What to add to an offset for a place. */
  readonly base: number;
  /** The offset behind the last whole line that was read. */
  readonly readTo: number;
}

/** Readers take no more than this of the end, and of the first line. */
export const READ_BYTES = 256 * 1024;

/** A longer line is skipped; not so the first one, which has what trimming kept. */
const MAX_LINE_BYTES = 8 * 1024;

/** With more lines than this it is read anew, so that they do not gather in a process that runs for long. */
const MAX_LINES_READ_ON = 5_000;

/** Reads it, unless it is as it was seen before. Undefined when there is none. */
export function readJournal(path: string, before: Seen | undefined): Seen | undefined {
  return asStateFileError(path, 'read', () => {
    try {
      return withRegularFile(path, constants.O_RDONLY, (fd) => readOpen(fd, before));
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      return undefined;
    }
  });
}

/** Makes it when it is missing, complete from its first instant. */
export function createJournal(path: string): void {
  asStateFileError(path, 'create', () => {
    if (existsSync(path)) return;
    const draft = `${path}.${process.pid}-${randomWord()}`;
    makeFolders(dirname(path));
    try {
      writeFileSync(draft, headLine(randomWord(), 0, []), { flag: 'wx', mode: 0o600 });
      linkSync(draft, path);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    } finally {
      rmSync(draft, { force: true });
    }
  });
}

/** In one write: between two there could be another process's line. A short one has failed. */
export function appendToJournal(path: string, text: string): void {
  asStateFileError(path, 'write', () => {
    const bytes = Buffer.from(text, 'latin1');
    const written = withRegularFile(path, constants.O_WRONLY | constants.O_APPEND, (fd) => writeSync(fd, bytes));
    if (written < bytes.length) throw new Error(`only ${written} of ${bytes.length} bytes were written`);
  });
}

/**
 * Under LOCK_EX. It belongs to whom the old one belonged to, with the same mode: what others could have written is not
 * believed more afterwards.
 */
export function replaceJournal(path: string, text: string): void {
  asStateFileError(path, 'trim', () => replaceFile(path, text, lstatSync(path)));
}

/**
 * The lock, until the function that is returned is called. Undefined when somebody else has one that conflicts, or trimming
 * has just put another file at the path.
 */
export function tryLockJournal(path: string, kind: 'ex' | 'sh'): (() => void) | undefined {
  return asStateFileError(path, 'lock', () => {
    const fd = openRegularFile(path, constants.O_RDONLY);
    let isLocked = false;
    try {
      isLocked = tryFlock(fd, kind) && isSameFile(fd, path);
    } finally {
      if (!isLocked) closeSync(fd);
    }
    return isLocked ? closeOnce(fd) : undefined;
  });
}

/** As tryLockJournal(), again and again for so long. */
export async function lockJournal(path: string, kind: 'ex' | 'sh', ms: number): Promise<(() => void) | undefined> {
  return await poll(() => tryLockJournal(path, kind), { deadline: Deadline.after(ms), pace: new Pace({ maxMs: 4 }) });
}

function asStateFileError<T>(path: string, verb: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw error instanceof FlockProcessError ? error : journalError(path, verb, errorText(error), error);
  }
}

export function journalError(path: string, verb: string, reason: string, cause?: unknown): StateFileError {
  const message = `Cannot ${verb} "${path}", which says whether the process is wanted: ${reason}`;
  return new StateFileError(message, { path, cause });
}

function readOpen(fd: number, before: Seen | undefined): Seen {
  const { dev, ino, ctimeNs, uid, mode, size: bytes } = fstatSync(fd, { bigint: true });
  const file = { dev, ino, ctimeNs };
  const size = Number(bytes);
  // The time, too: a file that was deleted leaves its inode to the next one, which can be of the same size.
  const isSame = (['dev', 'ino', 'ctimeNs'] as const).every((field) => before?.file[field] === file[field]);
  if (before?.size === size && isSame) return before;
  const isTrusted = Number(uid) === process.getuid?.() && (Number(mode) & 0o022) === 0;
  const isGrown = before?.file.dev === dev && before.file.ino === ino && isSameJournal(fd, size, before);
  const { id, base, lines, readTo } = isGrown ? readOn(fd, size, before) : readWhole(fd, size);
  return { file, size, base, readTo, state: new JournalState(id, lines, { end: base + size, isTrusted }) };
}

/** Has it only been appended to? Then what is new is read alone: a start looks at the journal again and again. */
function isSameJournal(fd: number, size: number, { state: { id, lines }, readTo }: Seen): boolean {
  const begin = `{"id":${JSON.stringify(id)},`;
  const isWithinReach = size >= readTo && size - readTo <= READ_BYTES && lines.length <= MAX_LINES_READ_ON;
  return id !== '' && isWithinReach && readRange(fd, 0, begin.length) === begin;
}

type Read = Pick<Seen, 'base' | 'readTo'> & Pick<JournalState, 'id' | 'lines'>;

function readOn(fd: number, size: number, { state: { id, lines }, base, readTo }: Seen): Read {
  const text = readRange(fd, readTo, size);
  return {
    id,
    base,
    lines: [...lines, ...parseLines(text, base + readTo)],
    readTo: readTo + text.lastIndexOf('\n') + 1,
  };
}

function readWhole(fd: number, size: number): Read {
  const from = Math.max(0, size - READ_BYTES);
  const text = readRange(fd, from, size);
  const { id, base, kept } = parseHead(from === 0 ? text : readRange(fd, 0, Math.min(from, READ_BYTES)));
  const read = parseLines(text, from + base);
  const lines = [...kept.filter(({ place }) => place < (read[0]?.place ?? Number.POSITIVE_INFINITY)), ...read];
  return { id, base, lines, readTo: from + text.lastIndexOf('\n') + 1 };
}

function readRange(fd: number, from: number, to: number): string {
  const bytes = Buffer.alloc(to - from);
  // Places count bytes, and so must characters: what is not ASCII is escaped by whoever writes it.
  return bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, from));
}

function parseHead(text: string): { id: string; base: number; kept: JournalLine[] } {
  const head = (parseJson(text.slice(0, text.indexOf('\n'))) ?? {}) as Record<string, unknown>;
  const id = typeof head.id === 'string' ? head.id : '';
  const base = isPlace(head.base) ? head.base : 0;
  const kept = Array.isArray(head.kept) ? head.kept.flatMap((line: unknown) => asLine(line) ?? []) : [];
  return { id, base, kept: kept.filter(({ place }) => place < base) };
}

function parseLines(text: string, base: number): JournalLine[] {
  const lines: JournalLine[] = [];
  let place = base;
  // What comes after the last line end is not written to its end yet.
  for (const piece of text.split('\n').slice(0, -1)) {
    const isSkipped = piece === '' || piece.length > MAX_LINE_BYTES;
    const line = isSkipped ? undefined : asLine(parseJson(piece), place);
    if (line !== undefined) lines.push(line);
    place += piece.length + 1;
  }
  return lines;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // SyntaxError: a torn line, or somebody else's.
    return undefined;
  }
}

/** Undefined for what is no line. One that trimming has copied says itself where it stood: before its own place. */
function asLine(value: unknown, ownPlace = Number.POSITIVE_INFINITY): JournalLine | undefined {
  const line = (value ?? {}) as Partial<JournalLine>;
  const { at, event, by, place = 0 } = line;
  const isLine = typeof at === 'string' && typeof event === 'string' && typeof by === 'number' && isPlace(place);
  return isLine ? { ...line, at, event, by, place: Math.min(line.place ?? ownPlace, ownPlace) } : undefined;
}

/** Half of what can be counted exactly: sizes are added to a place. */
function isPlace(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < Number.MAX_SAFE_INTEGER / 2;
}

/** The first line: whose journal it is, what to add to an offset for a place, and the lines that trimming cut off and that still count. */
export function headLine(id: string, base: number, kept: readonly JournalLine[]): string {
  return `${toAscii({ id, base, kept })}\n`;
}

/** A line end in front: a line that was torn before swallows no other. */
export function lineOf(line: object): string {
  return `\n${toAscii(line)}\n`;
}

function toAscii(value: object): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[\u0080-\uffff]/g, escaped);
}

export function randomWord(): string {
  return random().toString(36).slice(2, 12);
}
