/**
 * Reading /proc. What cannot be seen is undefined; anything else that goes wrong (EMFILE, say) is thrown, for it says nothing
 * of the process that was asked about.
 */

import { type BigIntStats, closeSync, openSync, readdirSync, readlinkSync, readSync, statSync } from 'node:fs';
import { errorCode } from '../support/errors.js';

/** Gone (ENOENT, ESRCH), not ours to see (EACCES, EPERM), on a dead mount: either way nothing can be said of it. */
const UNSEEN = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR', 'ENOTCONN', 'ESTALE', 'EIO'];

/** Shared by all reads: a walk makes hundreds, and each piece is copied out at once. */
const buffer = Buffer.allocUnsafe(16 * 1024);

/** The whole file. Half the time that readFileSync() takes: it asks for the size first, which is 0 for all of these. */
export function read(path: string): string | undefined {
  return unlessUnseen(() => [...pieces(path, buffer.length)].join(''));
}

/** The lines, read as they are asked for: what comes after the last one that is wanted is not made by the kernel at all. */
export function* readLines(path: string, pieceBytes: number): Generator<string> {
  if (statFile(path) === undefined) return;
  let rest = '';
  for (const piece of pieces(path, pieceBytes)) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

function* pieces(path: string, bytes: number): Generator<string> {
  const fd = openSync(path, 'r');
  try {
    for (;;) {
      const length = readSync(fd, buffer, 0, bytes, null);
      if (length === 0) return;
      yield buffer.toString('latin1', 0, length);
    }
  } finally {
    closeSync(fd);
  }
}

export function statFile(path: string): BigIntStats | undefined {
  return unlessUnseen(() => statSync(path, { bigint: true }));
}

export function readLink(path: string): string | undefined {
  return unlessUnseen(() => readlinkSync(path));
}

export function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

export function descriptors(pid: number): number[] {
  return unlessUnseen(() => readdirSync(`/proc/${pid}/fd`).map(Number)) ?? [];
}

function unlessUnseen<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (!UNSEEN.includes(errorCode(error) ?? '')) throw error;
    return undefined;
  }
}
