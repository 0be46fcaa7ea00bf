/** The process table of Linux. Formats: proc(5). */

import { getPriority } from 'node:os';
import { basename } from 'node:path';
import { LOCK_OPEN_FLAGS, realPath } from '../support/files.js';
import { ageLessUptimeMs, systemTimeMs, systemUptime, uptime } from '../support/globals.js';
import { listenerPids } from './ports.js';
import { descriptors, pids, read, readLink, requireProc, statFile } from './proc-files.js';

export interface ProcessInfo {
  readonly pid: number;
  /** Start time as the system writes it, compared only. With it the PID is this process: a PID alone can be given anew. */
  readonly startKey: string;
  readonly parentPid: number;
  readonly groupId: number;
  /** Where the system does not tell sessions it is the group. */
  readonly sessionId: number;
  /** Dead, and not yet collected by its parent: it holds nothing any more. */
  readonly isZombie: boolean;
  /** On its way out: what it has open cannot be seen any more, although it may still be open. */
  readonly isExiting: boolean;
  /** Stopped by a signal (SIGSTOP, Ctrl-Z): alive, and doing nothing. Its port still accepts, in the kernel. */
  readonly isSuspended: boolean;
}

/** A descriptor of a live process through which a lock on a file is held. */
export interface Carrier {
  readonly process: ProcessInfo;
  readonly fd: number;
  /** Opened with our flags; undefined where the system does not tell. */
  readonly isOpenedByUs: boolean | undefined;
}

/** Undefined when there is no such process. A zombie is reported as one. */
export function lookUp(pid: number): ProcessInfo | undefined {
  const stat = Number.isInteger(pid) && pid > 0 ? read(`/proc/${pid}/stat`) : null;
  if (stat === null) requireProc();
  if (!stat) return undefined;
  // From the third field on: the second is the command in parentheses, and may contain spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '', parentPid, groupId, sessionId] = fields;
  const [flags, threads, startKey = '', exitSignal] = [6, 17, 19, 35].map((index) => fields[index]);
  // A thread, the end of which no signal tells a parent: it has an entry, unlisted, with the descriptors of its process.
  if (exitSignal === '-1') return undefined;
  return {
    pid,
    startKey,
    parentPid: Number(parentPid),
    groupId: Number(groupId),
    sessionId: Number(sessionId),
    // A killed process looks like a zombie as soon as its first thread has ended. It keeps its lock until the last one has,
    // which on a busy machine is 200 ms later.
    isZombie: 'ZXx'.includes(state) && Number(threads) <= 1,
    // PF_EXITING of the kernel's sched.h: set before a descriptor is closed.
    isExiting: (Number(flags) & 0x4) !== 0,
    isSuspended: state === 'T',
  };
}

/** Is there a process of which /proc does not tell us (hidepid)? */
export function isHidden(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  try {
    // Told of any process, whoever's it is.
    return stat === undefined || (stat === null && Number.isInteger(getPriority(pid)));
  } catch {
    return false; // ESRCH
  }
}

/** As lookUp(), in some later turn: where it takes the run of a program, the event loop goes on meanwhile. No proof. */
export async function lookUpAside(pid: number): Promise<ProcessInfo | undefined> {
  return lookUp(pid);
}

let ownBoot: string | undefined;

/** Tells one boot from another, and one PID namespace from another; the same for all processes in which a PID means the same. */
export function boot(): string {
  ownBoot ??= `${read('/proc/sys/kernel/random/boot_id')?.trim()} ${readLink('/proc/self/ns/pid')}`;
  return ownBoot;
}

export function list(): ProcessInfo[] {
  return lookAtAll((pid) => lookUp(pid) ?? []);
}

/** Unix seconds, with fraction, as every process of this machine works it out. */
export function startTime(info: ProcessInfo): number {
  const bootTime = /^btime (\d+)$/m.exec(read('/proc/stat') ?? '')?.[1];
  // A /proc that was mounted with subset=pid has no such file.
  if (bootTime === undefined) return (systemTimeMs() - age(info)) / 1000;
  return Number(bootTime) + ticksMs(info.startKey) / 1000;
}

export function age({ startKey }: Pick<ProcessInfo, 'startKey'>): number {
  return Math.max(0, sinceBootMs() - ticksMs(startKey));
}

/** Where the system's uptime begins on the clock of the start times: 0, except in a container that has one of its own (lxcfs). */
let uptimeBeganMs = 0;

let ownStartMs: number | undefined;

/**
 * Milliseconds on the clock of the start times, CLOCK_BOOTTIME, which nobody sets and which goes on while the machine sleeps.
 * The system's uptime does, too. Our own age stands still during a sleep, so it tells when that uptime began at the earliest:
 * the sooner it was asked, the better.
 */
export function sinceBootMs(): number {
  if (ownStartMs === undefined) requireProc();
  ownStartMs ??= ticksMs(lookUp(process.pid)?.startKey ?? '0');
  const systemMs = systemUptime() * 1000;
  const beganMs = ownStartMs + uptime() * 1000 - systemMs;
  uptimeBeganMs = Math.max(uptimeBeganMs, ownStartMs + ageLessUptimeMs, beganMs);
  return systemMs + uptimeBeganMs;
}

function ticksMs(startKey: string): number {
  // In USER_HZ, which is 100 on every architecture that Node runs on.
  return Number(startKey) * 10;
}

export function commandNames(pid: number): string[] {
  const executable = readLink(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '');
  // A program that sets its title leaves one word with spaces: "redis-server 127.0.0.1:7000", "nginx: master process nginx".
  const words = commandLine(pid).slice(0, 2);
  const titles = words.map((word) => word.split(/:? /, 1)[0]);
  return [executable, ...words, ...titles].flatMap((word) => (word === undefined || word === '' ? [] : basename(word)));
}

export function commandLine(pid: number): string[] {
  return (read(`/proc/${pid}/cmdline`) ?? '').split('\0').slice(0, -1);
}

/** Everybody who holds the lock on the file that is at `path` now; with `fd` at this descriptor alone, a tenth of the work. */
export function carriers(path: string, { kind, fd: only }: { kind?: LockKind; fd?: number } = {}): Carrier[] {
  if (!statFile(path)) return [];
  // By whatever name: it can be linked, or mounted elsewhere. Most descriptors are sockets, pipes and devices.
  const isFile = (pid: number, fd: number) => /^\/(?!dev\/)/.test(linkOf(pid, fd) ?? '');
  return lookAtAll((pid) =>
    (only === undefined ? descriptors(pid) : [only]).flatMap((fd) => {
      const lock = only !== undefined || isFile(pid, fd) ? lockOn(path, pid, fd, kind) : undefined;
      const info = lock ? lookUp(pid) : undefined;
      return info === undefined || info.isZombie ? [] : [{ process: info, fd, isOpenedByUs: lock?.isOpenedByUs }];
    }),
  );
}

export function carries(pid: number, fd: number, path: string): boolean | undefined {
  return isThere(lockOn(path, pid, fd));
}

export async function carriesAside(pid: number, fd: number, path: string): Promise<boolean | undefined> {
  return carries(pid, fd, path);
}

/** Does it have this descriptor open? Undefined when that is not to be seen, or the system does not tell cheaply. */
export function hasDescriptor(pid: number, fd: number): boolean | undefined {
  return isThere(linkOf(pid, fd));
}

function isThere(found: unknown): boolean | undefined {
  return found === undefined ? undefined : found !== null;
}

/** Does it carry an exclusive lock of ours on another file than the one at `path`? 'elsewhere': under a path of its own. */
export function lostLock(pid: number, fd: number, path: string): 'deleted' | 'elsewhere' | undefined {
  if (!lockThrough(pid, fd)?.isOpenedByUs || isOpenAt(path, pid, fd) !== false) return undefined;
  return linkOf(pid, fd) === `${realPath(path)} (deleted)` ? 'deleted' : 'elsewhere';
}

/** Is its stdout or stderr this regular file, whatever its name is by now? Not /dev/null, nor a terminal: those are everybody's. */
export function logsTo(pid: number, { device, inode }: { device: number; inode: number }): boolean {
  const streams = [1, 2].map((fd) => statFile(`/proc/${pid}/fd/${fd}`));
  return streams.some((it) => it?.isFile() === true && Number(it.dev) === device && Number(it.ino) === inode);
}

/** Who is seen to listen on this TCP port; nobody where the system does not tell. When `likely` does, nobody else is asked. */
export function listeners(port: number, likely?: number): ProcessInfo[] {
  return listenerPids(port, likely).flatMap((pid) => lookUp(pid) ?? []);
}

export { isPortUsed } from './ports.js';

/**
 * PIDs that came meanwhile are looked at too: one that forks and ends during the walk (a server that puts itself into the
 * background does) would be missed together with its child.
 */
function lookAtAll<T>(look: (pid: number) => T | readonly T[]): T[] {
  const seen = new Set<number>();
  const found: T[] = [];
  // Where processes come faster than they can be looked at, a walk has to end all the same.
  for (let round = 1; round <= 30; round += 1) {
    const fresh = pids().filter((pid) => !seen.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) seen.add(pid);
    found.push(...fresh.flatMap(look));
  }
  return found;
}

/**
 * As lockThrough(), for the file that is at `path` now. By the lock's inode it can be that one, or by its name, for a layered
 * file system can show another inode: a stat of anybody's descriptor on a dead network file system would not return.
 */
function lockOn(path: string, pid: number, fd: number, kind?: LockKind): Lock | null | undefined {
  const lock = lockThrough(pid, fd, kind);
  if (!lock) return lock;
  const link = linkOf(pid, fd);
  const isLikely = lock.inode === String(statFile(path)?.ino) || link?.endsWith(basename(path));
  if (!isLikely) return link === undefined ? undefined : null;
  // By now it can have become unreadable: a server that drops root does.
  const isOpen = isOpenAt(path, pid, fd);
  return isOpen === false ? null : isOpen && lock;
}

const LOCK_LINES = {
  exclusive: /^lock:.* FLOCK +ADVISORY +WRITE .*:(\d+) /m,
  shared: /^lock:.* FLOCK +ADVISORY +READ .*:(\d+) /m,
};

type LockKind = keyof typeof LOCK_LINES;

/** `isOpenedByUs`: with our flags. */
type Lock = { isOpenedByUs: boolean; inode: string | undefined };

/**
 * Null without such a lock. /proc/PID/fdinfo/N has a `lock:` line on exactly the descriptors whose open file description has
 * the lock, inherited ones too. (/proc/locks names the process that called flock(2), even when it is dead and its child holds
 * the lock.)
 */
function lockThrough(pid: number, fd: number, kind: LockKind = 'exclusive'): Lock | null | undefined {
  const info = read(`/proc/${pid}/fdinfo/${fd}`);
  if (!info) return info === undefined ? undefined : null;
  const line = LOCK_LINES[kind].exec(info);
  const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8);
  return line === null ? null : { isOpenedByUs: (flags & LOCK_OPEN_FLAGS) === LOCK_OPEN_FLAGS, inode: line[1] };
}

function linkOf(pid: number, fd: number): string | null | undefined {
  return readLink(`/proc/${pid}/fd/${fd}`);
}

function isOpenAt(path: string, pid: number, fd: number): boolean | undefined {
  const atPath = statFile(path);
  const opened = statFile(`/proc/${pid}/fd/${fd}`);
  return opened === undefined ? undefined : opened !== null && atPath?.ino === opened.ino && atPath.dev === opened.dev;
}
