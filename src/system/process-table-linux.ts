/** The process table of Linux. Formats: proc(5). */

import { getPriority } from 'node:os';
import { basename } from 'node:path';
import { realPath } from '../support/files.js';
import { ageLessUptimeMs, systemTimeMs, systemUptime, uptime } from '../support/globals.js';
import { listenerPids } from './ports.js';
import {
  descriptors,
  isOpenAt,
  type LockKind,
  linkOf,
  lockOn,
  lockThrough,
  lookAtAll,
  read,
  readLink,
  requireProc,
  sparing,
  statFile,
} from './proc-files.js';

export interface ProcessInfo {
  readonly pid: number;
  /** Start time as the system writes it, only for comparison. PID and start time name a process: a PID is reused. */
  readonly startKey: string;
  readonly parentPid: number;
  readonly groupId: number;
  /** The group where the system does not tell sessions. */
  readonly sessionId: number;
  /** Dead, but not yet collected by its parent: it holds nothing any more. */
  readonly isZombie: boolean;
  /** Exiting: its descriptors cannot be seen any more, although they may still be open. */
  readonly isExiting: boolean;
  /** Stopped by a signal (SIGSTOP, Ctrl-Z): alive, but doing nothing. In the kernel its port still accepts. */
  readonly isSuspended: boolean;
}

/** A descriptor of a live process through which a lock on a file is held. */
export interface Carrier {
  readonly process: ProcessInfo;
  readonly fd: number;
  /** Was the descriptor opened with our flags? Undefined where the system does not tell. */
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
  // The exit signal of a thread is -1: /proc has an unlisted entry for it, with the descriptors of its process.
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

/** Is there a process that /proc hides from us (hidepid)? */
export function isHidden(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  try {
    // The priority of any process can be read, whoever owns it.
    return stat === undefined || (stat === null && Number.isInteger(getPriority(pid)));
  } catch {
    return false; // ESRCH
  }
}

/** As lookUp(), in a later turn: without /proc a program runs beside the event loop. A signal must not rest on it. */
export async function lookUpAside(pid: number): Promise<ProcessInfo | undefined> {
  return lookUp(pid);
}

let ownBoot: string | undefined;

/** Names boot and PID namespace: the same text for all processes in which a PID means the same. */
export function boot(): string {
  ownBoot ??= `${read('/proc/sys/kernel/random/boot_id')?.trim()} ${readLink('/proc/self/ns/pid')}`;
  return ownBoot;
}

export function list(): ProcessInfo[] {
  const beganMs = sinceBootMs();
  const found = lookAtAll((pid) => lookUp(pid) ?? []);
  lastWalk = { beganMs, found };
  return found;
}

let lastWalk: { beganMs: number; found: readonly ProcessInfo[] } | undefined;

/** Two processes tell the time since the boot with a difference of some 10 ms. */
const CLOCK_MS = 100;

/**
 * Those that are left of a group or session. It gains members only while it has one: a walk after the birth of `first` that
 * found no member remains true, so that a thousand calls of stop() do not make a thousand walks.
 */
export function leftOf(
  first: Pick<ProcessInfo, 'pid' | 'startKey'>,
  isMember: (info: ProcessInfo) => boolean,
): ProcessInfo[] {
  const isLater = lastWalk !== undefined && lastWalk.beganMs > ticksMs(first.startKey) + CLOCK_MS;
  // One that was seen alive may have made the group or session since then.
  const isFirst = ({ pid, startKey, isZombie }: ProcessInfo) =>
    pid === first.pid && startKey === first.startKey && !isZombie;
  const isEnded = isLater && !lastWalk?.found.some((info) => isMember(info) || isFirst(info));
  return isEnded ? [] : list().filter(isMember);
}

/** Unix seconds, with a fraction: every process of this machine computes the same. */
export function startTime(info: ProcessInfo): number {
  const bootTime = /^btime (\d+)$/m.exec(read('/proc/stat') ?? '')?.[1];
  // A /proc that was mounted with subset=pid has no such file.
  if (bootTime === undefined) return (systemTimeMs() - age(info)) / 1000;
  return Number(bootTime) + ticksMs(info.startKey) / 1000;
}

export function age({ startKey }: Pick<ProcessInfo, 'startKey'>): number {
  return Math.max(0, sinceBootMs() - ticksMs(startKey));
}

/** Where the system's uptime begins on the clock of the start times: 0, unless a container has its own (lxcfs). */
let uptimeBeganMs = 0;

let ownStartMs: number | undefined;

/**
 * Milliseconds on the clock of the start times, CLOCK_BOOTTIME, which nobody sets and which goes on while the machine
 * sleeps, as the system's uptime does. The age of this process stands still during a sleep, so it tells when that
 * uptime began at the earliest: the sooner it is read, the more exactly.
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
  // Start keys count in USER_HZ, which is 100 on every architecture that Node runs on.
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

/** All carriers of the lock on the file now at `path`; with `fd` those at this descriptor only, a tenth of the work. */
export function carriers(path: string, { kind, fd: only }: { kind?: LockKind; fd?: number } = {}): Carrier[] {
  if (!statFile(path)) return [];
  // The file may have any name: it can be linked, or mounted elsewhere. Most descriptors are sockets, pipes, devices.
  const isFile = (pid: number, fd: number) => /^\/(?!dev\/(?!shm\/))/.test(linkOf(pid, fd) ?? '');
  return lookAtAll((pid) =>
    (only === undefined ? descriptors(pid) : [only]).flatMap((fd) =>
      only !== undefined || isFile(pid, fd) ? carrierAt(path, pid, fd, kind) : [],
    ),
  );
}

/**
 * As carriers() at a descriptor, each proven now, from a walk that stops side by side share: a carrier that came after it
 * is missing, and is found by the next walk.
 */
export function recentCarriers(path: string, fd: number): Carrier[] {
  const inode = String(statFile(path)?.ino);
  const locks = locksAt.get(fd) ?? sparing(() => lookAtAll((pid) => locate(pid, fd)));
  locksAt.set(fd, locks);
  const likely = locks().filter((lock) => lock.inode === inode || lock.link?.endsWith(basename(path)));
  return likely.flatMap(({ pid }) => carrierAt(path, pid, fd));
}

type Located = { pid: number; inode: string | undefined; link: string | null | undefined };

const locksAt = new Map<number, () => Located[]>();

function locate(pid: number, fd: number): Located | [] {
  const lock = lockThrough(pid, fd);
  return lock ? { pid, inode: lock.inode, link: linkOf(pid, fd) } : [];
}

function carrierAt(path: string, pid: number, fd: number, kind?: LockKind): Carrier[] {
  const lock = lockOn(path, pid, fd, kind);
  const info = lock ? lookUp(pid) : undefined;
  return info === undefined || info.isZombie ? [] : [{ process: info, fd, isOpenedByUs: lock?.isOpenedByUs }];
}

export function carries(pid: number, fd: number, path: string): boolean | undefined {
  return isThere(lockOn(path, pid, fd));
}

export async function carriesAside(pid: number, fd: number, path: string): Promise<boolean | undefined> {
  return carries(pid, fd, path);
}

/** Does the process have this descriptor open? Undefined when that cannot be seen, or not cheaply. */
export function hasDescriptor(pid: number, fd: number): boolean | undefined {
  return isThere(linkOf(pid, fd));
}

function isThere(found: unknown): boolean | undefined {
  return found === undefined ? undefined : found !== null;
}

/** Does the process carry our lock on another file than the one at `path`? 'elsewhere': that file has another path. */
export function lostLock(pid: number, fd: number, path: string): 'deleted' | 'elsewhere' | undefined {
  if (!lockThrough(pid, fd)?.isOpenedByUs || isOpenAt(path, pid, fd) !== false) return undefined;
  return linkOf(pid, fd) === `${realPath(path)} (deleted)` ? 'deleted' : 'elsewhere';
}

/** Is its stdout or stderr this regular file, under any name? /dev/null and terminals do not count: all have them. */
export function logsTo(pid: number, { device, inode }: { device: number; inode: number }): boolean {
  const streams = [1, 2].map((fd) => statFile(`/proc/${pid}/fd/${fd}`));
  return streams.some((it) => it?.isFile() === true && Number(it.dev) === device && Number(it.ino) === inode);
}

/** The processes seen to listen on this TCP port; none where the system does not tell. If `likely` does, only that. */
export function listeners(port: number, likely?: number): ProcessInfo[] {
  return listenerPids(port, likely).flatMap((pid) => lookUp(pid) ?? []);
}

export { isPortUsed } from './ports.js';
