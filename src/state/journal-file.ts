/** The file of a journal: what is in it, where each line stands, and the locks on it. */

import { constants, fstatSync, readSync } from 'node:fs';
import { tryFlock } from '../lock/flock.js';
import { isSameFile } from '../lock/lock-file.js';
import { Deadline, Pace, poll } from '../support/deadline.js';
import { errorText, FlockProcessError, StateFileError } from '../support/errors.js';
import { closeOnce, openRegularFile } from '../support/files.js';
import { setImmediate } from '../support/globals.js';
import { type JournalLine, type JournalState, type LastLines, stateOf } from './journal-state.js';

/** What was read of a journal. The lines are not kept: in a long-running process they would accumulate. */
export interface Seen {
  /** Device, inode and first bytes: the next file can have the inode of a deleted one. */
  readonly file: string;
  readonly size: number;
  readonly id: string;
  /** What to add to an offset to get a place. */
  readonly base: number;
  readonly last: LastLines;
  /** The offset behind the last whole line. */
  readonly readTo: number;
  readonly state: JournalState;
}

/** Readers take no more than this of the end, and of the first line. */
export const READ_BYTES = 256 * 1024;

/** A longer line is skipped, except the first one, which has what trimming kept. */
const MAX_LINE_BYTES = 8 * 1024;

/** Reads only what is new if the file has merely grown since `before`: a start reads the journal again and again. */
export function readJournal(fd: number, before: Seen | undefined): Seen {
  const { dev, ino, uid, mode, size: bytes } = fstatSync(fd, { bigint: true });
  const size = Number(bytes);
  // The first 32 bytes of a journal contain its id.
  const file = `${dev} ${ino} ${readRange(fd, 0, Math.min(size, 32))}`;
  const isTrusted = Number(uid) === process.getuid?.() && (Number(mode) & 0o022) === 0;
  if (before?.file === file && before.size === size && before.state.isTrusted === isTrusted) return before;
  const canReadOn = before?.file === file && size >= before.readTo && size - before.readTo <= READ_BYTES;
  const { id, base, last: known, readTo: from } = canReadOn ? before : readHead(fd, size);
  const text = readRange(fd, from, size);
  const last = new Map([...known, ...lastLines(text, base + from)]);
  const readTo = from + text.lastIndexOf('\n') + 1;
  // The size is not the end: in the middle of a write across two pages it covers a part of the line, which is still
  // unread.
  const state = stateOf(last, { id, offset: base + readTo }, isTrusted);
  return { file, size, id, base, last, readTo, state };
}

/** The lines that a reader takes, oldest first, except those that only the first line contains. */
export function readLines(fd: number): JournalLine[] {
  const { size } = fstatSync(fd);
  const { base, readTo: from } = readHead(fd, size);
  return parseLines(readRange(fd, from, size), base + from);
}

/** The first line has the journal's id, what to add to an offset to get a place, and the lines that still count. */
function readHead(fd: number, size: number): Pick<Seen, 'id' | 'base' | 'last' | 'readTo'> {
  const text = readRange(fd, 0, Math.min(size, READ_BYTES));
  const head = (parseJson(text.slice(0, text.indexOf('\n'))) ?? {}) as Record<string, unknown>;
  // Each `start` line repeats the id, and a line that is too long for readers would undo nothing.
  const id = typeof head.id === 'string' && head.id.length <= 100 ? head.id : '';
  const base = isPlace(head.base) ? head.base : 0;
  const kept: unknown[] = Array.isArray(head.kept) ? head.kept : [];
  const last = byEvent(kept.flatMap((line) => asLine(line, base) ?? []));
  return { id, base, last, readTo: Math.max(0, size - READ_BYTES) };
}

function byEvent(lines: readonly JournalLine[]): LastLines {
  return new Map(lines.map((line) => [line.event, line]));
}

function readRange(fd: number, from: number, to: number): string {
  const bytes = Buffer.alloc(to - from);
  return bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, from));
}

/** How each line of this library goes on behind its time, which always has the same length. */
const BEFORE_EVENT = '","event":"';
const BEFORE_EVENT_AT = '{"at":"2026-01-01T00:00:00.000Z'.length;
const EVENT_AT = BEFORE_EVENT_AT + BEFORE_EVENT.length;

/** The last line of each event, found from the end: an earlier line of an event that was found is not parsed. */
function lastLines(text: string, base: number): LastLines {
  const last = new Map<string, JournalLine>();
  const pieces = text.split('\n');
  // What comes after the last line end is not completely written yet.
  let end = text.length - (pieces.pop() as string).length;
  for (const piece of pieces.reverse()) {
    end -= piece.length + 1;
    const isOurs = piece.startsWith(BEFORE_EVENT, BEFORE_EVENT_AT);
    if (isOurs && last.has(piece.slice(EVENT_AT, piece.indexOf('"', EVENT_AT)))) continue;
    const line = lineOf(piece, base + end);
    if (line !== undefined && !last.has(line.event)) last.set(line.event, line);
  }
  return last as LastLines;
}

/** What was parsed last in this turn: of several calls side by side each searches it for its own line. */
let parsed: { text: string; base: number; lines: JournalLine[] } | undefined;

function parseLines(text: string, base: number): JournalLine[] {
  if (parsed?.text === text && parsed.base === base) return parsed.lines;
  if (parsed === undefined) setImmediate(() => (parsed = undefined));
  const lines: JournalLine[] = [];
  parsed = { text, base, lines };
  let place = base;
  // What comes after the last line end is not completely written yet.
  for (const piece of text.split('\n').slice(0, -1)) {
    const line = lineOf(piece, place);
    if (line !== undefined) lines.push(line);
    place += piece.length + 1;
  }
  return lines;
}

function lineOf(piece: string, place: number): JournalLine | undefined {
  const isSkipped = piece === '' || piece.length > MAX_LINE_BYTES;
  return isSkipped ? undefined : asLine(parseJson(piece), place);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // SyntaxError: a torn line, or one that somebody else has written.
    return undefined;
  }
}

/** Undefined for what is no line. A line that trimming copied says where it stood: before its present place. */
function asLine(value: unknown, ownPlace: number): JournalLine | undefined {
  const line = (value ?? {}) as Partial<JournalLine>;
  const { at, event, by, place = 0 } = line;
  const isLine = typeof at === 'string' && typeof event === 'string' && typeof by === 'number' && isPlace(place);
  return isLine ? { ...line, at, event, by, place: Math.min(line.place ?? ownPlace, ownPlace) } : undefined;
}

/** At most half of what can be counted exactly, because sizes are added to a place. */
function isPlace(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < Number.MAX_SAFE_INTEGER / 2;
}

/** Places count bytes, but readers count characters: everything that is not ASCII is escaped. */
export function textOf(line: object): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return `${JSON.stringify(line).replace(/[\u0080-\uffff]/g, escaped)}\n`;
}

/** @returns what releases the lock; undefined when another lock conflicts, or trimming has just replaced the file */
export function tryLockJournal(path: string, kind: 'ex' | 'sh'): (() => void) | undefined {
  let release: (() => void) | undefined;
  try {
    const fd = openRegularFile(path, constants.O_RDONLY);
    release = closeOnce(fd);
    if (tryFlock(fd, kind) && isSameFile(fd, path)) return release;
    release();
    return undefined;
  } catch (error) {
    release?.();
    throw fileError(path, 'lock', error);
  }
}

export async function lockJournal(path: string, kind: 'ex' | 'sh', ms: number): Promise<(() => void) | undefined> {
  return await poll(() => tryLockJournal(path, kind), { deadline: Deadline.after(ms), pace: new Pace({ maxMs: 4 }) });
}

export function fileError(path: string, verb: string, cause: unknown): Error {
  if (cause instanceof FlockProcessError) return cause;
  const message = `Cannot ${verb} "${path}", which says whether the process is wanted: ${errorText(cause)}`;
  return new StateFileError(message, { path, cause });
}
