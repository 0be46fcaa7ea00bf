/** The process table of Linux. Formats: proc(5). */

import { basename } from 'node:path';
import { LOCK_OPEN_FLAGS, realPath } from '../support/files.js';
import { listenerPids } from './ports.js';
import { descriptors, pids, read, readLink, statFile } from './proc-files.js';
import type { Carrier, CarrierOptions, LockKind, LostLock, ProcessInfo } from './process-info.js';

const LOCK_LINES = { exclusive: /^lock:.* FLOCK +ADVISORY +WRITE /m, shared: /^lock:.* FLOCK +ADVISORY +READ /m };

/** Start times in /proc/PID/stat count in USER_HZ, which is 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** The signal that a parent gets at the end (field 38): a thread that is not the first one has none. */
const THREAD_EXIT_SIGNAL = '-1';

/** Of the flags in /proc/PID/stat (field 9), `PF_EXITING` of the kernel's sched.h: set before a descriptor is closed. */
const EXITING_FLAG = 0x4;

/** On a machine where processes come faster than they can be looked at, a walk has to end all the same. */
const MAX_ROUNDS = 30;

/** Undefined when there is no such process. A zombie is reported as one. */
export function lookUp(pid: number): ProcessInfo | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  const fields = statFields(pid);
  if (fields === undefined) return undefined;
  // A thread has an entry of its own, although none is listed, and shows the descriptors of its process: it is none.
  if (fields[35] === THREAD_EXIT_SIGNAL) return undefined;
  const [state = '', parentPid, groupId, sessionId] = fields;
  return {
    pid,
    startKey: fields[19] ?? '',
    parentPid: Number(parentPid),
    groupId: Number(groupId),
    sessionId: Number(sessionId),
    // A killed process looks like a zombie as soon as its first thread has ended. It keeps its lock until the last one has,
    // which on a busy machine is 200 ms later.
    isZombie: 'ZXx'.includes(state) && Number(fields[17]) <= 1,
    isExiting: (Number(fields[6]) & EXITING_FLAG) !== 0,
    isSuspended: state === 'T',
  };
}

/** From the third one on, the state: the second is the command in parentheses, and may contain spaces and parentheses. */
function statFields(pid: number): string[] | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Tells one boot from another, and one PID namespace from another; the same for all processes in which a PID means the same. */
export function boot(): string {
  return `${read('/proc/sys/kernel/random/boot_id')?.trim()} ${readLink('/proc/self/ns/pid')}`;
}

/** Every visible process. */
export function list(): ProcessInfo[] {
  return lookAtAll((pid) => lookUp(pid) ?? []);
}

/** Unix seconds, with fraction, as every process of this machine works it out. */
export function startTime({ startKey }: ProcessInfo): number {
  const bootTime = Number(/^btime (\d+)$/m.exec(read('/proc/stat') ?? '')?.[1]);
  return bootTime + ticksMs(startKey) / 1000;
}

/** Milliseconds since it started, untouched by changes of the wall clock. */
export function age({ startKey }: ProcessInfo): number {
  return Math.max(0, bootTicksMs() - ticksMs(startKey));
}

let ownStartMs: number | undefined;

/**
 * Milliseconds between boot and now, on the scale of the start times: reckoned from the start of this very process.
 * /proc/uptime is no help: in a container it can count from the container's own start (lxcfs).
 */
function bootTicksMs(): number {
  ownStartMs ??= ticksMs(lookUp(process.pid)?.startKey ?? '0');
  return ownStartMs + process.uptime() * 1000;
}

function ticksMs(startKey: string): number {
  return (Number(startKey) / TICKS_PER_SECOND) * 1000;
}

/** Base names of its executable and of the first two words of its command line. */
export function commandNames(pid: number): string[] {
  const executable = readLink(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '');
  // A program that sets its title leaves one word with spaces: "redis-server 127.0.0.1:7000", "nginx: master process nginx".
  const words = commandLine(pid).slice(0, 2);
  const titles = words.map((word) => word.split(/:? /, 1)[0]);
  return [executable, ...words, ...titles].flatMap((word) => (word === undefined || word === '' ? [] : basename(word)));
}

/** The words of its command line, as it was started or has set it since. */
export function commandLine(pid: number): string[] {
  return (read(`/proc/${pid}/cmdline`) ?? '').split('\0').slice(0, -1);
}

/** Everybody who holds the exclusive lock, or a shared one, on the file that is at `path` now. */
export function carriers(path: string, { kind = 'exclusive', fd: only }: CarrierOptions = {}): Carrier[] {
  if (statFile(path) === undefined) return [];
  return lookAtAll((pid) =>
    (only === undefined ? descriptors(pid) : [only]).flatMap((fd): Carrier[] => {
      const lock = lockOn(path, pid, fd, kind);
      const process = lock === undefined ? undefined : lookUp(pid);
      return process === undefined || process.isZombie ? [] : [{ process, fd, isOpenedByUs: lock?.isOpenedByUs }];
    }),
  );
}

/** Does it hold the exclusive lock on the file at `path` now, through this descriptor? */
export function carries(pid: number, fd: number, path: string): boolean {
  return lockOn(path, pid, fd) !== undefined;
}

/** Does it have this descriptor open? True where the system does not tell cheaply. */
export function hasDescriptor(pid: number, fd: number): boolean {
  return linkOf(pid, fd) !== undefined;
}

/** Does the descriptor carry an exclusive lock of ours on another file than the one at `path`? */
export function lostLock(pid: number, fd: number, path: string): LostLock | undefined {
  if (lockThrough(pid, fd)?.isOpenedByUs !== true || isOpenAt(path, pid, fd)) return undefined;
  return linkOf(pid, fd) === `${realPath(path)} (deleted)` ? 'deleted' : 'elsewhere';
}

/** Is one of its standard streams appended to this regular file? */
export function logsTo(pid: number, path: string): boolean {
  // Not /dev/null, nor a terminal: those are everybody's.
  if (statFile(path)?.isFile() !== true) return false;
  return [1, 2].some((fd) => linkOf(pid, fd) === realPath(path));
}

/** Who is seen to listen on this TCP port; nobody where the system does not tell. When `likely` does, nobody else is asked. */
export function listeners(port: number, likely?: number): ProcessInfo[] {
  return listenerPids(port, likely).flatMap((pid) => lookUp(pid) ?? []);
}

/**
 * One that forks and ends during the walk (a server that puts itself into the background does) would be missed together
 * with its child, which is not in the list yet: so PIDs that came meanwhile are looked at too.
 */
function lookAtAll<T>(look: (pid: number) => T | readonly T[]): T[] {
  const seen = new Set<number>();
  const found: T[] = [];
  for (let round = 1; round <= MAX_ROUNDS; round += 1) {
    const fresh = pids().filter((pid) => !seen.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) seen.add(pid);
    found.push(...fresh.flatMap(look));
  }
  return found;
}

/**
 * The lock on the file that is at `path` now. The name is compared first: a stat of somebody's descriptor on a dead network
 * file system would not return.
 */
function lockOn(path: string, pid: number, fd: number, kind?: LockKind): { isOpenedByUs: boolean } | undefined {
  if (linkOf(pid, fd)?.endsWith(basename(path)) !== true) return undefined;
  const lock = lockThrough(pid, fd, kind);
  return lock !== undefined && isOpenAt(path, pid, fd) ? lock : undefined;
}

/**
 * /proc/PID/fdinfo/N has a `lock:` line on exactly the descriptors whose open file description has the lock, inherited
 * ones too. (/proc/locks names the process that called flock(2), even when it is dead and its child holds the lock.)
 */
function lockThrough(pid: number, fd: number, kind: LockKind = 'exclusive'): { isOpenedByUs: boolean } | undefined {
  const info = read(`/proc/${pid}/fdinfo/${fd}`);
  if (info === undefined || !LOCK_LINES[kind].test(info)) return undefined;
  const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8);
  return { isOpenedByUs: (flags & LOCK_OPEN_FLAGS) === LOCK_OPEN_FLAGS };
}

function linkOf(pid: number, fd: number): string | undefined {
  return readLink(`/proc/${pid}/fd/${fd}`);
}

/** Is the file that is at `path` now the one that is open at this descriptor? */
function isOpenAt(path: string, pid: number, fd: number): boolean {
  const atPath = statFile(path);
  const opened = statFile(`/proc/${pid}/fd/${fd}`);
  return atPath !== undefined && atPath.ino === opened?.ino && atPath.dev === opened.dev;
}
