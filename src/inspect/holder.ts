/**
 * Who is the process: the one that the last `spawn` of the journal names, by boot, PID and start ticks. Without a journal that
 * says so it is searched among those that carry the lock: a managed process at descriptor 3, a starter at a higher number.
 * Everything here is synchronous: a caller that signals does so in the same turn as the look.
 */

import { basename } from 'node:path';
import { journalOf } from '../state/journal.js';
import type { JournalState } from '../state/journal-state.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { type Carrier, isSessionLeader, lookAgain, type ProcessInfo, processTable } from '../system/process-table.js';

/** The descriptor at which a managed process inherits the lock. */
export const LOCK_FD = 3;

type Files = Pick<CompleteSpec, 'lockFile' | 'command'>;

export type Holder =
  /** Our process. After it in `members`: its heirs, when they were asked for. */
  | { kind: 'process'; process: ProcessInfo; members: readonly ProcessInfo[] }
  /** The process that the journal names is dead and these have its lock. One of `candidates` is the process itself if it passes all checks. */
  | { kind: 'leftovers'; candidates: readonly ProcessInfo[]; members: readonly ProcessInfo[] }
  /**
   * Starters; strangers, of whom nothing says that they are ours; nobody who can be seen: the lock was freed a moment ago, its
   * holder is going, or belongs to somebody else.
   */
  | { kind: 'starting' | 'strangers' | 'nobody'; members: readonly ProcessInfo[] };

const NOBODY: Holder = { kind: 'nobody', members: [] };

/** Heirs are looked for when they are asked for: that costs a walk through all processes. */
export function identify(spec: Files, { heirs = false }: { heirs?: boolean } = {}): Holder {
  const state = journalOf(spec).readIfReadable();
  const named = namedProcess(state);
  if (named !== undefined && isCarrying(named, spec)) return withHeirs(named, heirs ? managedCarriers(spec) : [], spec);
  // Its descriptors cannot be seen any more, and its port may still accept: until it is gone nobody may pass for it.
  if (named?.isExiting) return NOBODY;
  const { managed, starters } = lockCarriers(spec);
  if (managed.length === 0) return starters.length === 0 ? NOBODY : { kind: 'starting', members: starters };
  const isNamed = state.isTrusted && state.isOfLastStart && isSpawnedHere(state);
  // Looked up again: it can have died since.
  const isDead = isNamed && namedProcess(state) === undefined;
  const members = managed.filter(({ isOpenedByUs }) => isOpenedByUs !== false).map(({ process }) => process);
  if (isDead && starters.length === 0 && members.length > 0) {
    const candidates = members.filter((member) => isSessionLeader(member) || hasCommandName(member, spec));
    return { kind: 'leftovers', candidates, members };
  }
  const found = bestMatch(managed, spec);
  if (found === undefined) return { kind: 'strangers', members: managed.map(({ process }) => process) };
  return withHeirs(found, managed, spec);
}

function withHeirs(found: ProcessInfo, managed: readonly Carrier[], spec: Files): Holder {
  // It still carries the lock after the others were seen to: so they shared its open file, or they could not have.
  // Otherwise the lock changed hands during the look, and what was seen belongs to two different holders.
  if (!isCarrying(found, spec)) return NOBODY;
  const heirs = managed.map(({ process }) => process).filter(({ pid }) => pid !== found.pid);
  return { kind: 'process', process: found, members: [found, ...heirs] };
}

/** Whoever holds the lock and may be ended: our process with its heirs, or its leftovers. */
export function ownHolders(spec: Files): readonly ProcessInfo[] {
  const { kind, members } = identify(spec, { heirs: true });
  return kind === 'process' || kind === 'leftovers' ? members : [];
}

/**
 * With the lock free or ours: the process that the journal names, if it has lost its lock file, or dropped the lock. One that
 * holds another lock file which is still there is under that one: its state folder was copied or moved, with the journal.
 */
export function lostProcesses(spec: Files): ProcessInfo[] {
  const state = journalOf(spec).readIfReadable();
  const process = namedProcess(state);
  if (process === undefined || process.isExiting) return [];
  const lost = processTable().lostLock(process.pid, LOCK_FD, spec.lockFile);
  if (lost !== undefined) return lost === 'deleted' ? [process] : [];
  // By the journal's word alone it must lead a session, as whatever start() spawns does, and be under the lock file of this name.
  const isOurs = isSessionLeader(process) && process.pid !== 1 && state.spawned?.lockFile === spec.lockFile;
  return isOurs ? [process] : [];
}

/** 'starters': those that have the lock while a start of it is under way. */
export function lockCarriers({ lockFile }: Files): { managed: Carrier[]; starters: ProcessInfo[] } {
  const carriers = processTable().carriers(lockFile);
  const managed = carriers.filter(isManagedCarrier);
  // One that has it at both has made a copy for itself.
  const isManaged = ({ pid }: ProcessInfo) => managed.some((carrier) => carrier.process.pid === pid);
  return { managed, starters: carriers.map(({ process }) => process).filter((process) => !isManaged(process)) };
}

/** Of the heirs of a process that put itself into the background: the one that goes on as the process. */
export function successor(spec: Files): ProcessInfo | undefined {
  const managed = managedCarriers(spec);
  return bestMatch(managed, spec) ?? oldest(managed);
}

/** While we hold the lock: then whoever carries it as a managed process does shares our open file. */
export function heirsOfLock(spec: Files): ProcessInfo[] {
  return managedCarriers(spec).map(({ process }) => process);
}

export function isCarrying({ pid }: ProcessInfo, { lockFile }: Files): boolean {
  return processTable().carries(pid, LOCK_FD, lockFile);
}

/**
 * Is the process that the journal names seen to carry the lock? Then the lock is held, and flock(2) need not be asked, which
 * takes a helper where there is no addon. False says nothing.
 */
export function isSeenHeld(spec: Files, state: JournalState = journalOf(spec).readIfReadable()): boolean {
  if (!processTable().tellsHolders) return false;
  const carrier = namedProcess(state);
  return carrier !== undefined && isCarrying(carrier, spec);
}

function namedProcess(state: JournalState): ProcessInfo | undefined {
  const { spawned, hasExited, isTrusted } = state;
  if (spawned === undefined || !isTrusted || !isSpawnedHere(state)) return undefined;
  return hasExited ? undefined : lookAgain(spawned);
}

/** In this boot, and in a PID namespace in which its PID means the same to us. */
function isSpawnedHere({ spawned }: JournalState): boolean {
  return spawned?.boot === processTable().boot();
}

function managedCarriers({ lockFile }: Files): Carrier[] {
  return processTable().carriers(lockFile, { fd: LOCK_FD }).filter(isManagedCarrier);
}

function isManagedCarrier({ fd, process: { pid } }: Carrier): boolean {
  return fd === LOCK_FD && pid !== process.pid;
}

function bestMatch(managed: readonly Carrier[], spec: Files): ProcessInfo | undefined {
  const ours = managed.filter(({ process, isOpenedByUs }) => isSessionLeader(process) && isOpenedByUs !== false);
  return oldest(ours) ?? oldest(managed.filter(({ process }) => hasCommandName(process, spec)));
}

function oldest(carriers: readonly Carrier[]): ProcessInfo | undefined {
  const { age } = processTable();
  return carriers.toSorted((one, other) => age(other.process) - age(one.process))[0]?.process;
}

function hasCommandName({ pid }: ProcessInfo, { command }: Files): boolean {
  return processTable().commandNames(pid).includes(basename(command));
}
