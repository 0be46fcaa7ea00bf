/**
 * Follows a log. Each file is read to its end before the next one is opened, so that a rotation loses no line. Nothing
 * is read ahead of a slow consumer: it finds what came meanwhile in the files.
 */

import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { isLocked } from '../lock/questions.js';
import { linkSignals, onAbort, sleep } from '../support/deadline.js';
import { errorCode } from '../support/errors.js';
import { closeOnce } from '../support/files.js';
import { newAbort, now } from '../support/globals.js';
import { TAIL_BYTES } from './log-file.js';
import type { CompleteSpec } from './process-spec.js';

type Files = Pick<CompleteSpec, 'logFile' | 'lockFile' | 'logRotation'>;
type Options = { lines: number; signal: AbortSignal | undefined };

const LOOK_EVERY_MS = 100;

/** A longer line is delivered in pieces: a program that never ends one must not fill the memory. */
const MAX_LINE_LENGTH = 1024 * 1024;

/** A line without an end is waited for as long as somebody holds the lock, and in any case for this time. */
const UNENDED_MS = 1_000;

/** @throws the system's error when the log is there and cannot be read */
export function followLog(files: Files, { lines, signal }: Options): AsyncIterable<string> {
  return {
    [Symbol.asyncIterator]() {
      const left = newAbort();
      const iterator = follow(files, { lines, signal }, left.signal);
      const leave = iterator.return.bind(iterator);
      // By itself a generator learns that its consumer has left only after the line that it waits for.
      iterator.return = (value) => {
        left.abort();
        return leave(value);
      };
      return iterator;
    },
  };
}

async function* follow(files: Files, options: Options, left: AbortSignal): AsyncGenerator<string, undefined> {
  const { signal, clear } = linkSignals(options.signal, left);
  let file: LogFile | undefined;
  // This also closes the file of a consumer that never comes back for another line.
  const forget = onAbort(signal, () => file?.close());
  try {
    file = openLogFile(files.logFile);
    let lines = file?.readTail(options.lines) ?? [];
    for (;;) {
      for (const line of lines) {
        if (signal.aborted) return;
        yield line;
      }
      if (signal.aborted) return;
      // Looked up before the read: a file that was moved away has no writer any more, so nothing follows what is read
      // now.
      const next = nextPath(files, file);
      const read = file?.read();
      const opened = read === undefined && next !== undefined ? openLogFile(next) : undefined;
      const isOver = opened !== undefined || (file?.waitedForEnd(UNENDED_MS) && !isLocked(files.lockFile));
      lines = read ?? ((isOver && file?.takeUnended()) || []);
      if (opened !== undefined) {
        file?.close();
        file = opened;
      }
      // The loop sleeps between two reads, too: an endless log must not keep timers, sockets and the abort waiting.
      await sleep(read === undefined && opened === undefined ? LOOK_EVERY_MS : 0, signal).catch(() => undefined);
    }
  } finally {
    forget();
    clear();
    file?.close();
  }
}

/** The oldest of the files that came after this one; undefined while there is none. */
function nextPath({ logFile, logRotation: { keep } }: Files, file: LogFile | undefined): string | undefined {
  if (file === undefined) return logFile;
  const statOf = (path: string) => statSync(path, { bigint: true, throwIfNoEntry: false });
  const { dev, ino, mtimeNs } = fstatSync(file.fd, { bigint: true });
  const current = statOf(logFile);
  // A deleted file is read on, for its process still writes to it.
  if (current === undefined || (current.ino === ino && current.dev === dev)) return undefined;
  let next = logFile;
  for (let moved = 1; moved <= keep; moved += 1) {
    const path = `${logFile}.${moved}`;
    // This file was moved or deleted: it was last written before any later file existed.
    if ((statOf(path)?.mtimeNs ?? 0n) <= mtimeNs) break;
    next = path;
  }
  return next;
}

/** Undefined when there is no file, or it is not a regular one. */
function openLogFile(path: string): LogFile | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
  if (fstatSync(fd).isFile()) return new LogFile(fd);
  closeSync(fd);
  return undefined;
}

class LogFile {
  readonly fd: number;
  /** Idempotent. */
  readonly close: () => void;
  readonly #decoder = new StringDecoder('utf8');
  #position = 0;
  #unended = '';
  #quietSince = now();

  constructor(fd: number) {
    this.fd = fd;
    this.close = closeOnce(fd);
  }

  /** The last lines of the last 64 KiB. A line without an end counts as one of them, and is delivered later. */
  readTail(count: number): string[] {
    const { size } = fstatSync(this.fd);
    this.#position = count === 0 ? size : Math.max(0, size - TAIL_BYTES);
    const isCut = this.#position > 0;
    const lines = this.read() ?? [];
    if (isCut) lines.shift();
    return lines.slice(Math.max(0, lines.length - count + (this.#unended === '' ? 0 : 1)));
  }

  /** The lines of the next 64 KiB; undefined at the end. */
  read(): string[] | undefined {
    if (fstatSync(this.fd).size < this.#position) {
      this.#position = 0;
      return this.takeUnended();
    }
    const bytes = Buffer.allocUnsafe(TAIL_BYTES);
    const count = readSync(this.fd, bytes, 0, bytes.length, this.#position);
    if (count === 0) return undefined;
    this.#position += count;
    this.#quietSince = now();
    const lines = (this.#unended + this.#decoder.write(bytes.subarray(0, count))).split('\n');
    const isTooLong = (lines.at(-1)?.length ?? 0) > MAX_LINE_LENGTH;
    this.#unended = isTooLong ? '' : (lines.pop() ?? '');
    return lines;
  }

  waitedForEnd(ms: number): boolean {
    if (this.#unended === '' || now() - this.#quietSince < ms) return false;
    this.#quietSince = now();
    return true;
  }

  takeUnended(): string[] {
    const line = this.#unended + this.#decoder.end();
    this.#unended = '';
    return line === '' ? [] : [line];
  }
}
