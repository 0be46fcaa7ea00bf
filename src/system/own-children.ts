/**
 * What this thread has spawned itself, and knows of without asking anybody: somebody may have removed the folder, and where there
 * is no /proc a look takes the run of a program. Until the end of a child is told nobody else can have its PID.
 */

import type { ChildProcess } from 'node:child_process';
import type { ProcessInfo } from './process-table-linux.js';

type Identity = Pick<ProcessInfo, 'pid' | 'startKey'>;

const children = new Map<string, ChildProcess>();

/** Those that ended long ago are forgotten: a supervisor may start any number. */
const MOST_CHILDREN = 50;

export function rememberChild(info: Identity, child: ChildProcess): void {
  const [oldest] = children.keys();
  if (children.size >= MOST_CHILDREN && oldest !== undefined) children.delete(oldest);
  children.set(keyOf(info), child);
}

/** Of a child that is remembered: does it live, as far as its events have told? Undefined of everybody else. */
export function isLivingChild(info: Identity): boolean | undefined {
  const child = children.get(keyOf(info));
  return child && isUncollected(child);
}

export function ownChildren(): ChildProcess[] {
  return [...children.values()];
}

/** Has its end not been told yet? Until then nobody else can have its PID. */
export function isUncollected({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

function keyOf({ pid, startKey }: Identity): string {
  return `${pid} ${startKey}`;
}

/** By the lock file that it was spawned under. */
const spawned = new Map<string, ProcessInfo>();

/** @param info another one than before when it has put itself into the background */
export function rememberSpawned(lockFile: string, info: ProcessInfo): void {
  spawned.set(lockFile, info);
}

/** It may be dead. */
export function spawnedUnder(lockFile: string): ProcessInfo | undefined {
  return spawned.get(lockFile);
}

/** When it is dead: each test may have a lock file of its own. */
export function forgetSpawned(lockFile: string): void {
  spawned.delete(lockFile);
}
