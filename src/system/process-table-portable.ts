/**
 * The process table where there is no /proc, with the functions of the Linux one: ps(1) and lsof(1), some 10 ms a call.
 * They cannot tell who holds a lock, only who has its file open: while the lock is held, those count as its carriers.
 */

import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { abortAfter, whenAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, LockUnavailableError, systemError } from '../support/errors.js';
import { realPath } from '../support/files.js';
import { systemTimeMs } from '../support/globals.js';
import { loadPackage } from '../support/load.js';
import { isPid } from '../support/options.js';
import { assertSocketsAnswer, isPortOpen, type LookOptions, type PortAddress } from './ports.js';
import type { Carrier, ProcessInfo } from './process-table-linux.js';
import { askAside, askNow } from './programs.js';

const log = debugLog('port');

export function lookUp(pid: number): ProcessInfo | undefined {
  return isPid(pid) ? ps(['-p', String(pid)])[0]?.info : undefined;
}

export async function lookUpAside(pid: number): Promise<ProcessInfo | undefined> {
  return isPid(pid)
    ? entriesOf(await askAside('ps', psArguments(['-p', String(pid)]), psEnvironment()))[0]?.info
    : undefined;
}

export function isHidden(): boolean {
  return false;
}

/** Start times are wall-clock times here: they differ from boot to boot by themselves. */
export function boot(): string {
  return '';
}

export function list(): ProcessInfo[] {
  return ps(['-A']).map(({ info }) => info);
}

export function leftOf(_first: unknown, isMember: (info: ProcessInfo) => boolean): ProcessInfo[] {
  return list().filter(isMember);
}

export function startTime({ startKey }: Pick<ProcessInfo, 'startKey'>): number {
  return Date.parse(`${startKey} UTC`) / 1000;
}

export function age(info: Pick<ProcessInfo, 'startKey'>): number {
  return Math.max(0, systemTimeMs() - startTime(info) * 1000);
}

/** The wall clock: the start times are wall-clock times here. */
export function sinceBootMs(): number {
  return systemTimeMs();
}

export function commandNames(pid: number): string[] {
  // The executable is asked for separately: its path may contain spaces.
  const executable = askNow('ps', ['-ww', '-o', 'comm=', '-p', String(pid)], psEnvironment()).trim();
  const words = commandLine(pid).slice(0, 2);
  return [executable, ...words].map((word) => basename(word.replace(/:$/, '')));
}

/** A word that contains spaces cannot be told from several words. */
export function commandLine(pid: number): string[] {
  return (ps(['-p', String(pid)])[0]?.command ?? '').split(' ');
}

export function carriers(path: string): Carrier[] {
  // lsof fails when it is asked about a file that is not there.
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return [];
  return openDescriptors(['--', path], path).flatMap(({ pid, fd }) => {
    const info = lookUp(pid);
    return info === undefined || info.isZombie ? [] : [{ process: info, fd, isOpenedByUs: undefined }];
  });
}

export { carriers as recentCarriers };

export function carries(pid: number, fd: number, path: string): boolean | undefined {
  return isCarriedIn(openDescriptors(['-p', String(pid)], path), fd, path);
}

export async function carriesAside(pid: number, fd: number, path: string): Promise<boolean | undefined> {
  const answer = askAside('lsof', lsofArguments(['-p', String(pid)])).catch((error) => cannotTell(path, error));
  return isCarriedIn(openIn(await answer), fd, path);
}

/** lsof says nothing of a process that this user may not examine. */
function isCarriedIn(open: readonly OpenDescriptor[], fd: number, path: string): boolean | undefined {
  return open.length === 0 ? undefined : open.some((it) => it.fd === fd && isFile(it, path));
}

export function hasDescriptor(): boolean | undefined {
  return undefined;
}

export function lostLock(pid: number, fd: number, path: string): 'deleted' | undefined {
  const open = descriptor(pid, fd, path);
  if (open === undefined || isFile(open, path)) return undefined;
  return open.name.replace(/ \(deleted\)$/, '') === realPath(path) ? 'deleted' : undefined;
}

export function logsTo(pid: number, { device, inode }: { device: number; inode: number }): boolean {
  const streams = openDescriptors(['-a', '-p', String(pid), '-d', '1,2'], `the log of PID ${pid}`);
  return streams.some((it) => it.type === 'REG' && Number(it.device) === device && Number(it.inode) === inode);
}

export function listeners(): ProcessInfo[] {
  return [];
}

/** An attempt to connect tells. The one of tcp-port-used cannot be cancelled: it goes on when the time is over. */
export async function isPortUsed(address: PortAddress, options: LookOptions): Promise<boolean> {
  assertSocketsAnswer();
  const { check } = portPackage() ?? {};
  if (check === undefined) return await isPortOpen(address, options);
  const over = abortAfter(options.timeoutMs, options.signal);
  try {
    return await Promise.race([check(address.port, address.host), whenAborted(over.signal)]);
  } catch (error) {
    log('%s:%d: %s', address.host, address.port, errorText(error));
    return false;
  } finally {
    over.clear();
  }
}

function portPackage(): typeof import('tcp-port-used') | undefined {
  try {
    return loadPackage('tcp-port-used') as typeof import('tcp-port-used');
  } catch (error) {
    log('%s', errorText(error));
    return undefined;
  }
}

type Entry = { info: ProcessInfo; command: string };

function ps(selection: readonly string[]): Entry[] {
  return entriesOf(askNow('ps', psArguments(selection), psEnvironment()));
}

function psArguments(selection: readonly string[]): string[] {
  // `lstart` is the start time to the second, in fixed columns: "Tue Nov 24 06:08:40 2026".
  const columns = ['pid', 'ppid', 'pgid', 'stat', 'lstart', 'command'];
  // -ww: neither the width of a terminal nor COLUMNS cuts a line short.
  return ['-ww', ...columns.flatMap((column) => ['-o', `${column}=`]), ...selection];
}

function psEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
}

/** @throws when the output is no table: another program of this name, or another format */
function entriesOf(stdout: string): Entry[] {
  const entries = stdout.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+ +\S+ +\d+ [\d:]+ \d+)\s?(.*)$/.exec(line);
    if (match === null) return [];
    const [, pid, parentPid, groupId, state = '', startKey = '', command = ''] = match;
    const info = {
      pid: Number(pid),
      startKey,
      parentPid: Number(parentPid),
      groupId: Number(groupId),
      // "s" marks a session leader on Linux, macOS and the BSDs alike; of the others only the group is known.
      sessionId: Number(state.includes('s') ? pid : groupId),
      isZombie: state.startsWith('Z'),
      // "E" is "trying to exit" on macOS and the BSDs.
      isExiting: /[ZE]/.test(state),
      isSuspended: state.startsWith('T'),
    };
    return [{ info, command }];
  });
  if (entries.length === 0 && stdout.trim() !== '') throw systemError(`ps printed no process table: ${stdout.trim()}`);
  return entries;
}

type OpenDescriptor = { pid: number; fd: number; type: string; device: string; inode: string; name: string };

function descriptor(pid: number, fd: number, path: string): OpenDescriptor | undefined {
  return openDescriptors(['-a', '-p', String(pid), '-d', String(fd)], path)[0];
}

function openDescriptors(selection: readonly string[], path: string): OpenDescriptor[] {
  try {
    return openIn(askNow('lsof', lsofArguments(selection)));
  } catch (error) {
    return cannotTell(path, error);
  }
}

function cannotTell(path: string, cause: unknown): never {
  throw new LockUnavailableError(`Cannot tell who has "${path}" open: ${errorText(cause)}`, { path, cause });
}

function lsofArguments(selection: readonly string[]): string[] {
  return ['-nPw', '-F', 'pftDin', ...selection];
}

/** lsof prints one field a line, each with its letter in front: p(PID), then for each file f(d), t(ype), D(evice), i(node), n(ame). */
function openIn(stdout: string): OpenDescriptor[] {
  const found: OpenDescriptor[] = [];
  let pid = 0;
  for (const line of stdout.split('\n')) {
    const value = line.slice(1);
    if (line.startsWith('p')) pid = Number(value);
    else if (/^f\d+$/.test(line)) found.push({ pid, fd: Number(value), type: '', device: '', inode: '', name: '' });
    const last = found.at(-1);
    if (last !== undefined && line.startsWith('t')) last.type = value;
    if (last !== undefined && line.startsWith('D')) last.device = value;
    if (last !== undefined && line.startsWith('i')) last.inode = value;
    if (last !== undefined && line.startsWith('n')) last.name = value;
  }
  return found;
}

/** An inode number alone does not name a file: each device has a file with it. */
function isFile(open: OpenDescriptor | undefined, path: string): boolean {
  const { ino, dev } = statSync(path, { bigint: true, throwIfNoEntry: false }) ?? {};
  return ino !== undefined && open?.inode === String(ino) && Number(open.device) === Number(dev);
}
