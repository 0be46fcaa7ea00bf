/**
 * The children that this thread has spawned, known without asking the system: the state folder may have been removed,
 * and without /proc a lookup runs a program. Until the end of a child is reported no other process can have its PID.
 */

import type { ChildProcess } from 'node:child_process';
import type { ProcessInfo } from './process-table-linux.js';

type Identity = Pick<ProcessInfo, 'pid' | 'startKey'>;

type Child = { process: ChildProcess; ended: Promise<unknown> };

const children = new Map<string, Child>();

/** Only the newest are remembered: a supervisor may start any number. */
const MOST_CHILDREN = 50;

/** @param ended is resolved when the end of the child is reported; any number of calls can wait for it */
export function rememberChild(info: Identity, child: ChildProcess, ended: Promise<unknown>): void {
  const [oldest] = children.keys();
  if (children.size >= MOST_CHILDREN && oldest !== undefined) children.delete(oldest);
  children.set(keyOf(info), { process: child, ended });
}

/** Does this child live, as far as its events have told? Undefined for every process that is not remembered. */
export function isLivingChild(info: Identity): boolean | undefined {
  const child = children.get(keyOf(info));
  return child && isUncollected(child.process);
}

/** Resolves when the end of this child is reported. Undefined for every process that is not remembered. */
export function endOfChild(info: Identity): Promise<unknown> | undefined {
  return children.get(keyOf(info))?.ended;
}

export function ownChildren(): Child[] {
  return [...children.values()];
}

/** Has the end of the child not been reported yet? Until then no other process can have its PID. */
export function isUncollected({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

function keyOf({ pid, startKey }: Identity): string {
  return `${pid} ${startKey}`;
}

/** The process that was spawned last under each lock file. */
const spawned = new Map<string, ProcessInfo>();

/** @param info another process than before when the server has put itself into the background */
export function rememberSpawned(lockFile: string, info: ProcessInfo): void {
  spawned.set(lockFile, info);
}

/** The process may be dead. */
export function spawnedUnder(lockFile: string): ProcessInfo | undefined {
  return spawned.get(lockFile);
}

/** To be called when the process is dead: each test may have a lock file of its own, and entries would accumulate. */
export function forgetSpawned(lockFile: string): void {
  spawned.delete(lockFile);
}
