/** Recognises the watcher of a tied or shared process, and counts the users of a shared one. */

import { isLocked } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import { besideLockFile, type CompleteSpec } from '../state/process-spec.js';
import { type ProcessInfo, processTable } from '../system/process-table.js';

/** The $0 of the watcher, a shell, by which it is recognised. The next word is the lifetime of what it watches. */
export const WATCHER_NAME = 'flock-process-watcher';

export const WATCHED_FD = 4;

/** Is it a watcher? The shell that is about to exec the process has the same command line, but is none. */
export function isWatcher(info: ProcessInfo): boolean {
  return watchedLifetime(info) !== undefined;
}

export function isShared(info: ProcessInfo): boolean {
  return watchersOf(info, 'shared').length > 0;
}

/**
 * Is the watcher, or the last user, ending the process? Either holds LOCK_EX on the users file of a shared process
 * meanwhile. The watcher of a tied process, once the owner is gone, closes the pipe that it watched before it signals.
 */
export function isBeingEnded(info: ProcessInfo, spec: Pick<CompleteSpec, 'lockFile'>): boolean {
  if (isLocked(besideLockFile(spec, 'users'))) return true;
  const { spawned } = journalOf(spec).readIfReadable();
  // Without a watcher there is nothing to look for among all processes.
  const isNamed = spawned?.pid === info.pid && spawned.startKey === info.startKey;
  if (isNamed && spawned.lifetime === 'detached') return false;
  const { hasDescriptor } = processTable();
  return watchersOf(info, 'tied').some((watcher) => hasDescriptor(watcher.pid, WATCHED_FD) === false);
}

function watchersOf({ pid }: ProcessInfo, lifetime: CompleteSpec['lifetime']): ProcessInfo[] {
  const table = processTable();
  const members = table.list().filter((member) => member.groupId === pid && member.pid !== pid);
  return members.filter((member) => watchedLifetime(member) === lifetime);
}

/**
 * The lifetime in the command line of a watcher; undefined for any other process. WATCHER_NAME is searched for, because
 * from ps(1) the shell's text comes as many words.
 */
function watchedLifetime({ pid, groupId }: ProcessInfo): string | undefined {
  if (pid === groupId) return undefined;
  const [, option, ...words] = processTable().commandLine(pid);
  const index = words.indexOf(WATCHER_NAME);
  return option === '-c' && index > 0 ? words[index + 1] : undefined;
}

/**
 * Counts the carriers of LOCK_SH on the users file. Where the system tells only who has the file open, the watcher and
 * the helper that it waits for are among them: whatever is in a watcher's group is left out.
 */
export function countUsers(spec: Pick<CompleteSpec, 'lockFile'>): number {
  const carriers = processTable().carriers(besideLockFile(spec, 'users'), { kind: 'shared' });
  const watched = carriers.filter((carrier) => isWatcher(carrier.process)).map((carrier) => carrier.process.groupId);
  return carriers.filter((carrier) => !watched.includes(carrier.process.groupId)).length;
}
