/**
 * Who is the process, who are its heirs, what did it leave behind.
 *
 * A managed process carries the lock at descriptor 3, a process that is starting one carries it at a higher number. A PID
 * from a file is a hint: what does not prove itself (start time, lock) leads to a search among those that carry the lock.
 * Everything here is synchronous: a caller that signals does so in the same turn as the look.
 */

import { basename } from 'node:path';
import { type ProcessRecord, readRecord } from '../state/pid-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import type { Carrier, ProcessInfo } from '../system/process-info.js';
import { isSessionLeader, processTable } from '../system/process-table.js';

/** The descriptor at which a managed process inherits the lock. */
export const LOCK_FD = 3;

/** Wall clock and boot time are each rounded to a second on their way into the PID file. */
const START_TIME_TOLERANCE_S = 2;

type Files = Pick<CompleteSpec, 'lockFile' | 'pidFile' | 'logFile' | 'command'>;

export type Holder =
  /** Our process. `heirs` share its open file; undefined when nobody looked, because its record proved it. */
  | { kind: 'process'; process: ProcessInfo; isRecorded: boolean; heirs: readonly ProcessInfo[] | undefined }
  /** Somebody is between taking the lock and spawning, or waits for a process that does not carry the lock. */
  | { kind: 'starting'; starters: readonly ProcessInfo[] }
  /** The recorded process is dead and these have its lock. One of `candidates` is the process itself if it passes all checks. */
  | { kind: 'leftovers'; members: readonly ProcessInfo[]; candidates: readonly ProcessInfo[] }
  /** They hold the lock, and nothing says that they are ours. */
  | { kind: 'strangers'; holders: readonly ProcessInfo[] }
  /** Nobody can be seen: the lock was freed a moment ago, its holder is going, or belongs to somebody else. */
  | { kind: 'nobody' };

/** Who holds the lock. `heirs: true` has the heirs of a process looked for, which costs a walk through all processes. */
export function identify(spec: Files, { heirs = false }: { heirs?: boolean } = {}): Holder {
  const record = readRecord(spec.pidFile);
  const recorded = record === undefined ? undefined : provenByRecord(record, spec);
  if (recorded !== undefined && !heirs) {
    return { kind: 'process', process: recorded, isRecorded: true, heirs: undefined };
  }
  if (recorded !== undefined) return withHeirs(recorded, true, managedCarriers(spec), spec);
  if (record !== undefined && isGoing(record)) return { kind: 'nobody' };
  const { managed, starters } = lookAround(spec);
  if (managed.length === 0) return starters.length === 0 ? { kind: 'nobody' } : { kind: 'starting', starters };
  const isOver = record !== undefined && starters.length === 0 && isDead(record, managed);
  if (isOver) return leftovers(managed, spec);
  return search(managed, spec);
}

/** Those that have the lock while a start of it is under way. */
export function starters(spec: Files): readonly ProcessInfo[] {
  return lookAround(spec).starters;
}

/**
 * The recorded process, when it is alive and its lock file was deleted or replaced under it: it carries our lock on a file
 * that is no longer there. One whose file merely has another name now could as well belong to another manager whose record
 * was copied over ours: that one must also write to our log, and have no record of its own beside its lock file.
 */
export function lostProcess(spec: Files): ProcessInfo | undefined {
  const record = readRecord(spec.pidFile);
  const process = record === undefined ? undefined : livingRecorded(record);
  if (record === undefined || process === undefined) return undefined;
  const lost = processTable().lostLock(process.pid, LOCK_FD, spec.lockFile);
  if (lost === undefined) return undefined;
  if (lost.isDeleted) return process;
  const isAnothers = readRecord(lost.path.replace(/(\.lock)?$/, '.pid'))?.pid === process.pid;
  return record.startTime !== undefined && !isAnothers && hasOurLog(process, spec) ? process : undefined;
}

function hasOurLog({ pid }: ProcessInfo, { logFile }: Files): boolean {
  return [logFile, `${logFile}.1`].some((path) => processTable().logsTo(pid, path));
}

/** Of the heirs of a process that put itself into the background: the one that goes on as the process. */
export function successor(spec: Files): ProcessInfo | undefined {
  const managed = managedCarriers(spec);
  return (bestMatch(managed, spec) ?? oldest(managed))?.process;
}

/** Everybody who carries the lock as a managed process does. Of use while we hold it ourselves: then they share our open file. */
export function heirsOfLock(spec: Files): ProcessInfo[] {
  return managedCarriers(spec).map(({ process }) => process);
}

function provenByRecord(record: ProcessRecord, { lockFile }: Files): ProcessInfo | undefined {
  const process = livingRecorded(record);
  return process !== undefined && processTable().carries(process.pid, LOCK_FD, lockFile) ? process : undefined;
}

function livingRecorded({ pid, startTime }: ProcessRecord): ProcessInfo | undefined {
  const process = processTable().lookUp(pid);
  if (process === undefined || process.isZombie) return undefined;
  if (startTime === undefined) return process;
  return Math.abs(processTable().startTime(process) - startTime) <= START_TIME_TOLERANCE_S ? process : undefined;
}

/**
 * It does not carry the lock any more because it ends at this moment. Its port can still accept: until it is gone nobody who
 * is left behind may pass for it. Without a start time the PID proves nothing, so the search goes on.
 */
function isGoing(record: ProcessRecord): boolean {
  return record.startTime !== undefined && livingRecorded(record)?.isExiting === true;
}

/**
 * Not when a carrier of the lock has its number: the start time of the record can be wrong, since the wall clock of a machine
 * that boots or wakes up is set.
 */
function isDead(record: ProcessRecord, managed: readonly Carrier[]): boolean {
  return livingRecorded(record) === undefined && !managed.some(({ process }) => process.pid === record.pid);
}

function lookAround({ lockFile }: Files): { managed: Carrier[]; starters: ProcessInfo[] } {
  const carriers = processTable().carriers(lockFile);
  const managed = carriers.filter(isManagedCarrier);
  // One that has it at both has made a copy for itself.
  const isManaged = ({ pid }: ProcessInfo) => managed.some((carrier) => carrier.process.pid === pid);
  const starters = carriers.map((carrier) => carrier.process).filter((process) => !isManaged(process));
  return { managed, starters };
}

function managedCarriers({ lockFile }: Files): Carrier[] {
  return processTable().carriers(lockFile, { fd: LOCK_FD }).filter(isManagedCarrier);
}

function isManagedCarrier({ fd, process: { pid } }: Carrier): boolean {
  return fd === LOCK_FD && pid !== process.pid;
}

function search(managed: readonly Carrier[], spec: Files): Holder {
  const found = bestMatch(managed, spec)?.process;
  if (found === undefined) return { kind: 'strangers', holders: managed.map(({ process }) => process) };
  return withHeirs(found, false, managed, spec);
}

function withHeirs(found: ProcessInfo, isRecorded: boolean, managed: readonly Carrier[], spec: Files): Holder {
  // It still carries the lock after the others were seen to: so they shared its open file, or they could not have.
  // Otherwise the lock changed hands during the look, and what was seen belongs to two different holders.
  if (!processTable().carries(found.pid, LOCK_FD, spec.lockFile)) return { kind: 'nobody' };
  const heirs = managed.map(({ process }) => process).filter(({ pid }) => pid !== found.pid);
  return { kind: 'process', process: found, isRecorded, heirs };
}

function leftovers(managed: readonly Carrier[], spec: Files): Holder {
  const family = managed.filter(({ isOpenedByUs }) => isOpenedByUs !== false);
  if (family.length === 0) return search(managed, spec);
  const members = family.map(({ process }) => process);
  const candidates = members.filter((member) => isSessionLeader(member) || hasCommandName(member, spec));
  return { kind: 'leftovers', members, candidates };
}

function bestMatch(managed: readonly Carrier[], spec: Files): Carrier | undefined {
  const ours = managed.filter(({ process, isOpenedByUs }) => isSessionLeader(process) && isOpenedByUs !== false);
  return oldest(ours) ?? oldest(managed.filter(({ process }) => hasCommandName(process, spec)));
}

function oldest(carriers: readonly Carrier[]): Carrier | undefined {
  const { age } = processTable();
  return carriers.toSorted((one, other) => age(other.process) - age(one.process))[0];
}

function hasCommandName({ pid }: ProcessInfo, { command }: Files): boolean {
  return processTable().commandNames(pid).includes(basename(command));
}
