/** Owners of tied processes, and what the operating system reports of them, their process and its watcher. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { ProcessSpec } from '../../src/index.js';
import { WATCHER_NAME } from '../../src/inspect/watcher.js';
import { WATCHER_TEXT } from '../../src/start/watcher-text.js';
import type { Ending, Owned } from '../fixtures/owner.js';
import { isRunning } from './outside-view.js';
import { hasProc, listProcess, listProcesses } from './portable-view.js';
import { type Program, startFixture } from './programs.js';
import { eventually } from './waiting.js';
import { livingInGroup } from './witness.js';

export interface Owner extends Owned {
  readonly program: Program;
  readonly pid: number;
}

/**
 * Starts a process that owns a tied process, waits until that is ready, and then ends in the way that the test names.
 */
export async function startOwner(
  test: Parameters<typeof startFixture>[0],
  spec: ProcessSpec,
  ending: Ending = 'stays',
  options: Parameters<typeof startFixture>[3] = {},
): Promise<Owner> {
  const program = startFixture(test, 'owner', [JSON.stringify({ lifetime: 'tied', ...spec }), ending], options);
  const owned = await program.message<Owned | { error: string }>();
  if ('error' in owned) throw new Error(owned.error);
  return { ...owned, program, pid: owned.instance.pid };
}

/**
 * The arguments that make a shell the watcher of a command: `watcherArguments('tied', 'TERM', '300', 'sleep', '9')`.
 */
export function watcherArguments(lifetime: 'tied' | 'shared', ...words: readonly string[]): string[] {
  return ['-c', WATCHER_TEXT, WATCHER_NAME, lifetime, ...words];
}

/**
 * PIDs of all processes except zombies whose command line contains the text: the server, the shell that becomes it, its
 * watcher.
 */
export function processesNaming(text: string): number[] {
  if (!hasProc)
    return listProcesses().flatMap(({ pid, fields, commandLine }) =>
      commandLine.includes(text) && fields[0] !== 'Z' ? pid : [],
    );
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => readOrEmpty(`/proc/${pid}/cmdline`).includes(text) && isRunning(pid));
}

/** Waits until every process of the group is gone or a zombie. @returns the milliseconds that it took */
export async function groupEnds(pid: number, withinMs = 15_000): Promise<number> {
  const begin = performance.now();
  await eventually(`every process of group ${pid} has ended`, () => livingInGroup(pid).length === 0, {
    withinMs,
    everyMs: 2,
  });
  return performance.now() - begin;
}

/**
 * PID of the watcher: the shell in the group that runs the watcher's text. Its child matches too, until it has become
 * flock(1).
 */
export function watcherOf(pid: number): number {
  const shells = livingInGroup(pid).filter((member) => member !== pid && argumentsOf(member).includes(WATCHER_NAME));
  const watchers = shells.filter((shell) => !shells.includes(parentOf(shell)));
  assert.equal(watchers.length, 1, `watchers of ${pid}: ${watchers.join()}`);
  return watchers[0] as number;
}

function parentOf(pid: number): number {
  if (!hasProc) return Number(listProcess(pid)?.fields[1]);
  return Number(/^PPid:\s+(\d+)$/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1]);
}

export function argumentsOf(pid: number): string[] {
  const commandLine = hasProc ? readOrEmpty(`/proc/${pid}/cmdline`) : (listProcess(pid)?.commandLine ?? '');
  return commandLine.split('\0').slice(0, -1);
}

/** The environment as the kernel gave it to the program, from name to value. */
export function environmentOf(pid: number): Record<string, string> {
  const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
  return Object.fromEntries(entries.map((entry) => [entry.replace(/=.*$/s, ''), entry.replace(/^[^=]*=/, '')]));
}

/** Maps each descriptor to what is open there. A descriptor that is closed meanwhile is left out. */
export function descriptorsOf(pid: number): Record<string, string> {
  const numbers = readdirSync(`/proc/${pid}/fd`);
  const entries = numbers.map((fd) => [fd, linkOrEmpty(`/proc/${pid}/fd/${fd}`)] as const);
  return Object.fromEntries(entries.filter(([, link]) => link !== ''));
}

/** The same, once the program is loaded: its loader has libraries and tables open for a moment. */
export async function settledDescriptorsOf(pid: number): Promise<Record<string, string>> {
  return await eventually(`PID ${pid} has been loaded`, () => {
    const descriptors = descriptorsOf(pid);
    return Object.values(descriptors).some((link) => /^\/(etc|lib|usr)/.test(link)) ? undefined : descriptors;
  });
}

/**
 * PID of the watcher, once it is watching. The last things it gives up before are its working directory and, just
 * before that, its streams.
 */
export async function settledWatcherOf(pid: number): Promise<number> {
  const watcher = watcherOf(pid);
  await eventually(`watcher ${watcher} has begun to watch`, () => linkOrEmpty(`/proc/${watcher}/cwd`) === '/');
  return watcher;
}

function linkOrEmpty(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** A line of /proc/PID/status: `statusField(pid, 'SigIgn')`. */
export function statusField(pid: number, name: string): string {
  const value = new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  if (value === undefined) throw new Error(`no ${name} in the status of PID ${pid}`);
  return value;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}
