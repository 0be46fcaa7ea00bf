/**
 * Reads /proc. There are three answers: what is there; null when it is not there; undefined when it cannot be seen
 * (another user's, on a dead mount, a path that is too long), which says neither. Only a problem of this process itself
 * is thrown: it has no descriptor left (EMFILE, …), or there is no /proc.
 */

import { type BigIntStats, closeSync, openSync, readdirSync, readlinkSync, readSync, statSync } from 'node:fs';
import { errorCode, isOwnLimit, isSystemError, systemError } from '../support/errors.js';

/** Shared by all reads: a walk makes hundreds of them, and each piece is copied out at once. */
const buffer = Buffer.allocUnsafe(16 * 1024);

/** The whole file, in half the time of readFileSync(): that asks for the size first, which is 0 for all files here. */
export function read(path: string): string | null | undefined {
  return look(() => [...pieces(path, buffer.length)].join(''));
}

/** The lines, read as the consumer asks for them: the kernel does not produce what follows the last one taken. */
export function* readLines(path: string, pieceBytes: number): Generator<string> {
  if (!statFile(path)) return;
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

export function statFile(path: string): BigIntStats | null | undefined {
  return look(() => statSync(path, { bigint: true }));
}

export function readLink(path: string): string | null | undefined {
  return look(() => readlinkSync(path));
}

export function pids(): number[] {
  requireProc();
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

export function descriptors(pid: number): number[] {
  return look(() => readdirSync(`/proc/${pid}/fd`).map(Number)) ?? [];
}

/**
 * In a PID namespace with the /proc of another one (`unshare --pid` alone) every number in /proc means another process.
 * @throws when nothing can be told about any process: the answer "it is not there" would be wrong
 */
export function requireProc(): void {
  const self = readLink('/proc/self');
  if (self === String(process.pid)) return;
  const what = self ? 'is that of another PID namespace' : 'is not mounted';
  throw systemError(`/proc ${what}, and nothing else tells one process from another: "mount -t proc proc /proc"`);
}

function look<T>(ask: () => T): T | null | undefined {
  try {
    return ask();
  } catch (error) {
    if (isOwnLimit(error) || !isSystemError(error)) throw error;
    return ['ENOENT', 'ESRCH', 'ENOTDIR'].includes(errorCode(error) ?? '') ? null : undefined;
  }
}
