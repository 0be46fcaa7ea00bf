/** Tells the watcher of a tied or shared process from the process, and counts the users of a shared one. */

import { isLocked } from '../lock/questions.js';
import { besideLockFile, type CompleteSpec } from '../state/process-spec.js';
import { type ProcessInfo, processTable } from '../system/process-table.js';

/** The word behind its text by which the shell that watches is recognised: its $0. What comes after it is its lifetime. */
export const WATCHER_NAME = 'flock-process-watcher';

export const WATCHED_FD = 4;

/** The shell that is about to become the process itself is none. */
export function isWatcher(info: ProcessInfo): boolean {
  return watchedLifetime(info) !== undefined;
}

export function isShared(info: ProcessInfo): boolean {
  return watchersOf(info, 'shared').length > 0;
}

/**
 * By its watcher, or by the last user of a shared one: either has LOCK_EX on the users meanwhile. Of a tied one the owner is
 * gone: its watcher closes what it watched before it signals.
 */
export function isBeingEnded(info: ProcessInfo, spec: Pick<CompleteSpec, 'lockFile'>): boolean {
  if (isLocked(besideLockFile(spec, 'users'))) return true;
  const { hasDescriptor } = processTable();
  return watchersOf(info, 'tied').some((watcher) => hasDescriptor(watcher.pid, WATCHED_FD) === false);
}

function watchersOf({ pid }: ProcessInfo, lifetime: CompleteSpec['lifetime']): ProcessInfo[] {
  const table = processTable();
  const members = table.list().filter((member) => member.groupId === pid && member.pid !== pid);
  return members.filter((member) => watchedLifetime(member) === lifetime);
}

/** What a watcher is told that it watches; undefined of anybody else. Where ps(1) tells, its text is many words. */
function watchedLifetime({ pid, groupId }: ProcessInfo): string | undefined {
  if (pid === groupId) return undefined;
  const [, option, ...words] = processTable().commandLine(pid);
  const index = words.indexOf(WATCHER_NAME);
  return option === '-c' && index > 0 ? words[index + 1] : undefined;
}

/** Where the system tells only who has the file open, the watcher and what waits for it in its group are among them. */
export function countUsers(spec: Pick<CompleteSpec, 'lockFile'>): number {
  const carriers = processTable().carriers(besideLockFile(spec, 'users'), { kind: 'shared' });
  const watched = carriers.filter((carrier) => isWatcher(carrier.process)).map((carrier) => carrier.process.groupId);
  return carriers.filter((carrier) => !watched.includes(carrier.process.groupId)).length;
}
