/**
 * Reads /proc. There are three answers: what is there; null when it is not there; undefined when it cannot be seen
 * (another user's, on a dead mount, a path that is too long), which says neither. Only a problem of this process itself
 * is thrown: it has no descriptor left (EMFILE, …), or there is no /proc.
 */

import {
  type BigIntStats,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';
import { basename } from 'node:path';
import { errorCode, isOwnLimit, isSystemError, systemError } from '../support/errors.js';
import { LOCK_OPEN_FLAGS } from '../support/files.js';
import { now } from '../support/globals.js';

/** Shared by all reads: a walk makes hundreds of them, and each piece is copied out at once. */
const buffer = Buffer.allocUnsafe(16 * 1024);

/**
 * The whole file, in half the time of readFileSync(): that asks for the size first, which is 0 for all files here. The
 * kernel writes these files as a whole, so a read that does not fill the buffer has reached the end.
 */
export function read(path: string): string | null | undefined {
  return look(() => {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      for (let text = ''; ; ) {
        const length = readSync(fd, buffer, 0, buffer.length, null);
        text += buffer.toString('latin1', 0, length);
        if (length < buffer.length) return text;
      }
    } finally {
      closeSync(fd);
    }
  });
}

/** The lines, read as the consumer asks for them: the kernel does not produce what follows the last one taken. */
export function* readLines(path: string, pieceBytes: number): Generator<string> {
  if (!statFile(path)) return;
  const fd = openSync(path, constants.O_RDONLY);
  try {
    for (let rest = ''; ; ) {
      const length = readSync(fd, buffer, 0, pieceBytes, null);
      if (length === 0) return;
      const lines = (rest + buffer.toString('latin1', 0, length)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
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

/**
 * Looks at all processes, those that appear meanwhile included: one that forks and ends during the walk (a server that
 * puts itself into the background does) would be missed together with its child.
 */
export function lookAtAll<T>(look: (pid: number) => T | readonly T[]): T[] {
  const seen = new Set<number>();
  const found: T[] = [];
  // The walk has to end even where processes appear faster than they can be examined.
  for (let round = 1; round <= 30; round += 1) {
    const fresh = pids().filter((pid) => !seen.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) seen.add(pid);
    found.push(...fresh.flatMap(look));
  }
  return found;
}

/** A walk whose result is used again for as long as the walk took: so walks take half of the time at most. */
export function sparing<T>(walk: () => T): () => T {
  let last: { result: T; freshUntil: number } | undefined;
  return () => {
    const beganMs = now();
    if (last !== undefined && beganMs < last.freshUntil) return last.result;
    const result = walk();
    const endedMs = now();
    last = { result, freshUntil: endedMs + (endedMs - beganMs) };
    return result;
  };
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

/**
 * As lockThrough(), for the file now at `path`. A stat of a descriptor on a dead network file system would not return,
 * so the lock's inode or the descriptor's name must fit first: layered file systems show other inodes.
 */
export function lockOn(path: string, pid: number, fd: number, kind?: LockKind): Lock | null | undefined {
  const lock = lockThrough(pid, fd, kind);
  if (!lock) return lock;
  const link = linkOf(pid, fd);
  const isLikely = lock.inode === String(statFile(path)?.ino) || link?.endsWith(basename(path));
  if (!isLikely) return link === undefined ? undefined : null;
  // The descriptor can have become unreadable by now: a server that drops root does that.
  const isOpen = isOpenAt(path, pid, fd);
  return isOpen === false ? null : isOpen && lock;
}

const LOCK_LINES = {
  exclusive: /^lock:.* FLOCK +ADVISORY +WRITE .*:(\d+) /m,
  shared: /^lock:.* FLOCK +ADVISORY +READ .*:(\d+) /m,
};

export type LockKind = keyof typeof LOCK_LINES;

/** `isOpenedByUs`: the descriptor was opened with our flags. */
type Lock = { isOpenedByUs: boolean; inode: string | undefined };

/**
 * Null without such a lock. /proc/PID/fdinfo/N has a `lock:` line on exactly the descriptors whose open file description has
 * the lock, inherited ones too. (/proc/locks names the process that called flock(2), even when it is dead and its child holds
 * the lock.)
 */
export function lockThrough(pid: number, fd: number, kind: LockKind = 'exclusive'): Lock | null | undefined {
  // Most processes have no such descriptor. An open(2) that fails takes several times as long: it makes an exception.
  if (look(() => lstatSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false }) ?? null) === null) return null;
  const info = read(`/proc/${pid}/fdinfo/${fd}`);
  if (!info) return info === undefined ? undefined : null;
  const line = LOCK_LINES[kind].exec(info);
  const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8);
  return line === null ? null : { isOpenedByUs: (flags & LOCK_OPEN_FLAGS) === LOCK_OPEN_FLAGS, inode: line[1] };
}

export function linkOf(pid: number, fd: number): string | null | undefined {
  return readLink(`/proc/${pid}/fd/${fd}`);
}

export function isOpenAt(path: string, pid: number, fd: number): boolean | undefined {
  const atPath = statFile(path);
  const opened = statFile(`/proc/${pid}/fd/${fd}`);
  return opened === undefined ? undefined : opened !== null && atPath?.ino === opened.ino && atPath.dev === opened.dev;
}
