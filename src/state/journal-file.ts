/** The file behind a journal: how a line is written, how lines and their places are read. */

import {
  type BigIntStats,
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  readSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { type JournalLine, JournalState } from './journal-state.js';

/** A line and where it stands. */
export type PlacedLine = JournalLine & { readonly place: number };

/** What was read of a journal, and when it need not be read again. */
export interface Seen {
  readonly file: Pick<BigIntStats, 'dev' | 'ino' | 'ctimeNs'>;
  readonly size: number;
  readonly state: JournalState;
  readonly lines: readonly PlacedLine[];
}

/** Readers take no more than this of the end, and of the first line. */
export const READ_BYTES = 256 * 1024;

/** A longer line is skipped; not so the first one, which has what trimming kept. */
const MAX_LINE_BYTES = 8 * 1024;

/** Reads the journal that is open here, unless it is the one that was seen before. */
export function readSeen(fd: number, before: Seen | undefined): Seen {
  const file = fstatSync(fd, { bigint: true });
  const size = Number(file.size);
  // The time, too: a file that was deleted leaves its inode to the next one, which can be of the same size.
  const isSame = (['dev', 'ino', 'ctimeNs'] as const).every((field) => before?.file[field] === file[field]);
  if (before !== undefined && before.size === size && isSame) return before;
  const from = Math.max(0, size - READ_BYTES);
  const text = readRange(fd, from, size);
  const head = parseHead(from === 0 ? text : readRange(fd, 0, Math.min(from, READ_BYTES)));
  const read = parseLines(text, from + head.base);
  const lines = [...head.kept.filter(({ place }) => place < (read[0]?.place ?? place + 1)), ...read];
  const isTrusted = Number(file.uid) === process.getuid?.() && (Number(file.mode) & 0o022) === 0;
  const state = new JournalState(head.id, lines, { end: head.base + size, isTrusted });
  return { file: { dev: file.dev, ino: file.ino, ctimeNs: file.ctimeNs }, size, state, lines };
}

function readRange(fd: number, from: number, to: number): string {
  const bytes = Buffer.alloc(to - from);
  // Places count bytes, and so must characters: what is not ASCII is escaped by whoever writes it.
  return bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, from));
}

function parseHead(text: string): { id: string; base: number; kept: PlacedLine[] } {
  const head = parseObject(text.slice(0, text.indexOf('\n')));
  const { id, base, kept } = head ?? {};
  return {
    id: typeof id === 'string' ? id : '',
    base: isPlace(base) ? base : 0,
    kept: Array.isArray(kept)
      ? kept.filter(
          (line): line is PlacedLine => isLine(line) && isPlace(line.place) && isPlace(base) && line.place < base,
        )
      : [],
  };
}

function parseLines(text: string, base: number): PlacedLine[] {
  const lines: PlacedLine[] = [];
  for (let begin = 0; begin < text.length; ) {
    const end = text.indexOf('\n', begin);
    if (end === -1) break;
    const line = end - begin > MAX_LINE_BYTES || end === begin ? undefined : parseObject(text.slice(begin, end));
    // A line that was copied stands behind its place.
    if (isLine(line)) lines.push({ ...line, place: Math.min(line.place ?? base + begin, base + begin) });
    begin = end + 1;
  }
  return lines;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // SyntaxError: a torn line, or somebody else's.
    return undefined;
  }
}

function isLine(value: unknown): value is JournalLine {
  const { at, event, by, place } = (value ?? {}) as Partial<JournalLine>;
  const isPlaced = place === undefined || isPlace(place);
  return typeof at === 'string' && typeof event === 'string' && typeof by === 'number' && isPlaced;
}

/** Half of what can be counted exactly: sizes are added to a place. */
function isPlace(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < Number.MAX_SAFE_INTEGER / 2;
}

/** The first line: whose journal it is, what to add to an offset for a place, and the lines that trimming cut off and that still count. */
export function headLine(id: string, base: number, kept: readonly PlacedLine[]): string {
  return `${toAscii({ id, base, kept })}\n`;
}

/** A line end in front: a line that was torn before swallows no other. */
export function lineOf(line: JournalLine): string {
  return `\n${toAscii(line)}\n`;
}

function toAscii(value: object): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[\u0080-\uffff]/g, escaped);
}

/** @param like whose owner and mode it gets: by the descriptor, for the name can lead elsewhere by then */
export function writeNewFile(path: string, text: string, like?: Pick<Stats, 'uid' | 'gid' | 'mode'>): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    writeWhole(fd, text);
    if (like === undefined) return;
    fchownSync(fd, like.uid, like.gid);
    fchmodSync(fd, like.mode & 0o777);
  } finally {
    closeSync(fd);
  }
}

/** In one write: between two there could be another process's line. A short one has failed. */
export function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text, 'latin1');
  const written = writeSync(fd, bytes);
  if (written < bytes.length) throw new Error(`only ${written} of ${bytes.length} bytes were written`);
}
