/**
 * Who is the process: the one that the last `spawn` of the journal names, by boot, PID and start ticks. Without a journal that
 * says so it is searched among those that carry the lock: a managed process at descriptor 3, a starter at a higher number.
 * Everything here is synchronous: a caller that signals does so in the same turn as the look.
 */

import { basename } from 'node:path';
import { isLocked } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import type { JournalLine, JournalState } from '../state/journal-state.js';
import { type CompleteSpec, stopLimitMs } from '../state/process-spec.js';
import { now, systemTimeMs } from '../support/globals.js';
import {
  type Carrier,
  hasProc,
  isSessionLeader,
  livingSpawned,
  lookAgain,
  type ProcessInfo,
  processTable,
} from '../system/process-table.js';

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
  const isHolder = named && isCarrying(named, spec, state);
  if (named && isHolder) return withHeirs(named, heirs ? managedCarriers(spec) : [], spec);
  // Its descriptors cannot be seen any more, and its port may still accept: until it is gone nobody may pass for it.
  if (named?.isExiting) return NOBODY;
  const { managed, starters } = lockCarriers(spec);
  if (managed.length === 0 && starters.length > 0) return { kind: 'starting', members: starters };
  const isNamed = state.isTrusted && state.isOfLastStart && isSpawnedHere(state) && starters.length === 0;
  const family = managed.filter(({ isOpenedByUs }) => isOpenedByUs !== false).map((carrier) => carrier.process);
  // By the journal's word alone when its descriptors are not to be seen, and nobody is seen with the lock who is no heir of it.
  const isUnseen = isNamed && named !== undefined && isHolder === undefined && family.length === managed.length;
  if (isUnseen && isOfSpawn(named, state, spec) && isLocked(spec.lockFile)) {
    return { kind: 'process', process: named, members: [named, ...family] };
  }
  // Looked up again: it can have died since.
  const isDead = isNamed && namedProcess(state) === undefined;
  const members = isDead && managed.length === 0 ? unseenMembers(state, spec) : family;
  if (isDead && members.length > 0) {
    const candidates = family.filter((member) => isSessionLeader(member) || hasCommandName(member, spec));
    return { kind: 'leftovers', candidates, members };
  }
  if (managed.length === 0) return NOBODY;
  const found = bestMatch(managed, spec);
  if (found === undefined) return { kind: 'strangers', members: managed.map((carrier) => carrier.process) };
  return withHeirs(found, managed, spec);
}

function withHeirs(found: ProcessInfo, managed: readonly Carrier[], spec: Files): Holder {
  // It still carries the lock after the others were seen to: so they shared its open file, or they could not have.
  // Otherwise the lock changed hands during the look, and what was seen belongs to two different holders.
  if (isCarrying(found, spec) === false) return NOBODY;
  const heirs = managed.map((carrier) => carrier.process).filter(({ pid }) => pid !== found.pid);
  return { kind: 'process', process: found, members: [found, ...heirs] };
}

/** Whoever holds the lock and may be ended: our process with its heirs, or its leftovers. */
export function ownHolders(spec: Files): readonly ProcessInfo[] {
  const { kind, members } = identify(spec, { heirs: true });
  return kind === 'process' || kind === 'leftovers' ? members : [];
}

/**
 * With the lock free or ours: what this thread has spawned, or the process that the journal names, if it has lost its lock file,
 * or dropped the lock. One that holds another lock file which is still there is under that one: its state folder was copied or
 * moved, with the journal. When it is dead, its survivors: a wrapper (npm run, a launcher in Python) gives its server the log, and
 * not the lock.
 */
export function leftBehind(spec: Files): ProcessInfo[] {
  const own = livingSpawned(spec.lockFile);
  if (own && processTable().lostLock(own.pid, LOCK_FD, spec.lockFile) !== 'elsewhere') return [own];
  const state = journalOf(spec).readIfReadable();
  const info = namedProcess(state);
  if (info === undefined || info.isExiting) return survivors(state);
  const lost = processTable().lostLock(info.pid, state.fdOf(info.pid) ?? LOCK_FD, spec.lockFile);
  if (lost !== undefined) return lost === 'deleted' ? [info] : [];
  // With the lock free the journal's word alone is believed of one that leads a session, as whatever start() spawns does.
  return !state.hasBecome && isSessionLeader(info) && isOfSpawn(info, state, spec) ? [info] : [];
}

/** Is it in the session in which it was spawned or adopted, if it was, and under the lock file of this name? */
function isOfSpawn({ pid, sessionId }: ProcessInfo, state: JournalState, { lockFile }: Files): boolean {
  const { spawned, hasBecome } = state;
  return spawned?.lockFile === lockFile && (hasBecome || (pid !== 1 && spawned.session === sessionId));
}

/** Whoever writes to the log of the process that was spawned last, in its session. */
function survivors(state: JournalState): ProcessInfo[] {
  const output = state.spawned?.log;
  if (output === undefined || state.isDown) return [];
  return sessionMembers(state).filter(({ pid }) => processTable().logsTo(pid, output));
}

/**
 * When the lock is held, and nobody is seen with it: those in that session who may have it, as the workers of nginx, which are
 * another user's. Not while one of them is going, which may have it for another instant.
 */
function unseenMembers(state: JournalState, spec: Files): ProcessInfo[] {
  const members = sessionMembers(state);
  if (members.some(({ isExiting }) => isExiting) || !isLocked(spec.lockFile)) return [];
  return members.filter((member) => isCarrying(member, spec) === undefined);
}

/** Its number is not given to another process while a member lives: when one leads it now, none was left. */
function sessionMembers(state: JournalState): ProcessInfo[] {
  const { spawned, isTrusted } = state;
  if (spawned?.session === undefined || !isTrusted || !isSpawnedHere(state)) return [];
  const { session, startKey } = spawned;
  const leader = processTable().lookUp(session);
  if (leader !== undefined && !leader.isZombie && leader.startKey !== startKey) return [];
  const isMember = ({ pid, sessionId, isZombie }: ProcessInfo) =>
    sessionId === session && !isZombie && pid !== process.pid;
  return processTable().list().filter(isMember);
}

/** 'starters': those that have the lock while a start of it is under way. */
export function lockCarriers({ lockFile }: Files): { managed: Carrier[]; starters: ProcessInfo[] } {
  const carriers = processTable().carriers(lockFile);
  const managed = carriers.filter(isManagedCarrier);
  // One that has it at both has made a copy for itself.
  const isManaged = ({ pid }: ProcessInfo) => managed.some((carrier) => carrier.process.pid === pid);
  return { managed, starters: carriers.map((carrier) => carrier.process).filter((info) => !isManaged(info)) };
}

/** A holder that is neither ours to end nor at work is waited for so long, and is told of within 5 s. */
const STRANGER_WAIT_MS = 3_000;

export type Patience = ReturnType<typeof patienceWith>;

/** Waits for those that hold the lock, as long as there is a reason to. To be asked again and again: is it over? */
export function patienceWith(spec: CompleteSpec): (holder: Holder) => boolean {
  let holders = '';
  let since = now();
  // It is over when the same stranger has held the lock all the time.
  return ({ kind, members }) => {
    const before = holders;
    holders = members.map(({ pid }) => pid).join();
    if (kind === 'process' || kind === 'leftovers' || holders !== before) since = now();
    if (now() - since < STRANGER_WAIT_MS) return false;
    if (areAtWork(members, spec)) since = now();
    return now() - since >= STRANGER_WAIT_MS;
  };
}

/** Is one of them at the last start, for no longer than that can take, or at a stop, which keeps LOCK_SH on the journal? */
function areAtWork(members: readonly ProcessInfo[], spec: CompleteSpec): boolean {
  const journal = journalOf(spec);
  const { last, isHandedOver } = journal.readIfReadable();
  const start = last('start');
  const limitMs = spec.startTimeoutMs + stopLimitMs(spec) + Number(start?.prepareMs ?? 0);
  const isStarting = start && !isHandedOver && lineAgeMs(start) < limitMs;
  const isStarter = (it: ProcessInfo) => it.pid === start?.by && it.startKey === (start.startKey ?? it.startKey);
  if (isStarting && members.some(isStarter)) return true;
  const stoppers = processTable().carriers(journal.path, { kind: 'shared' });
  return stoppers.some((stopper) => members.some(({ pid }) => pid === stopper.process.pid));
}

/** Where it says so, not on the wall clock, which can be set. Infinite for one of an earlier boot. */
export function lineAgeMs({ at, sinceBootMs }: JournalLine): number {
  if (typeof sinceBootMs !== 'number') return systemTimeMs() - Date.parse(at);
  const ageMs = processTable().sinceBootMs() - sinceBootMs;
  // To some 10 ms each process has a clock of its own: what was written just now can seem to come from the next moment.
  return ageMs < -1_000 ? Number.POSITIVE_INFINITY : ageMs;
}

/** Of the heirs of a process that put itself into the background: the one that goes on as the process. */
export function successor(spec: Files): ProcessInfo | undefined {
  const managed = managedCarriers(spec);
  return bestMatch(managed, spec) ?? oldest(managed);
}

/** While we hold the lock: then whoever carries it as a managed process does shares our open file. */
export function heirsOfLock(spec: Files): ProcessInfo[] {
  return managedCarriers(spec).map((carrier) => carrier.process);
}

/** Undefined when that is not to be seen. */
export function isCarrying({ pid }: ProcessInfo, spec: Files, state = journalOf(spec).readIfReadable()) {
  return processTable().carries(pid, state.fdOf(pid) ?? LOCK_FD, spec.lockFile);
}

/** Is the process of the journal seen with the lock? Then flock(2) need not be asked, which can take a helper. False says nothing. */
export function isSeenHeld(spec: Files, state: JournalState = journalOf(spec).readIfReadable()): boolean {
  // Without /proc the system tells only who has the file open.
  const carrier = hasProc() ? namedProcess(state) : undefined;
  return carrier !== undefined && isCarrying(carrier, spec, state) === true;
}

function namedProcess(state: JournalState): ProcessInfo | undefined {
  const { spawned, hasExited, isTrusted, hasBecome } = state;
  if (spawned === undefined || !isTrusted || !isSpawnedHere(state)) return undefined;
  const living = hasExited ? undefined : lookAgain(spawned);
  // One that has become the process leads no group of ours: it is signalled alone.
  return living && hasBecome ? { ...living, groupId: 0 } : living;
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
  const ours = managed.filter((it) => isSessionLeader(it.process) && it.isOpenedByUs !== false);
  return oldest(ours) ?? oldest(managed.filter((carrier) => hasCommandName(carrier.process, spec)));
}

function oldest(carriers: readonly Carrier[]): ProcessInfo | undefined {
  const { age } = processTable();
  return carriers.toSorted((one, other) => age(other.process) - age(one.process))[0]?.process;
}

function hasCommandName({ pid }: ProcessInfo, { command }: Files): boolean {
  return processTable().commandNames(pid).includes(basename(command));
}
