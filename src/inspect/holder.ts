/**
 * Identifies the process: the last `spawn` of the journal names it by boot, PID and start ticks. When the journal names
 * none, it is searched for among the processes that carry the lock: a managed process carries it at descriptor 3, a
 * starter at a higher number. Everything here is synchronous, so that a caller can prove and signal in the same turn.
 */

import { basename } from 'node:path';
import { LOCK_FD } from '../lock/held-lock.js';
import { isLocked } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import { type JournalLine, type JournalState, lineAgeMs } from '../state/journal-state.js';
import { type CompleteSpec, stopLimitMs } from '../state/process-spec.js';
import { now } from '../support/globals.js';
import {
  type Carrier,
  hasProc,
  isSessionLeader,
  livingSpawned,
  lookAgain,
  type ProcessInfo,
  processTable,
} from '../system/process-table.js';

type Files = Pick<CompleteSpec, 'lockFile' | 'command'>;

export type Holder =
  /** Our process. It comes first in `members`, then its heirs (other carriers of its lock) if they were asked for. */
  | { kind: 'process'; process: ProcessInfo; members: readonly ProcessInfo[] }
  /** `members` hold the lock of a dead process. A candidate that passes all checks goes on as the process. */
  | { kind: 'leftovers'; candidates: readonly ProcessInfo[]; members: readonly ProcessInfo[] }
  /**
   * Starters; or strangers, which nothing proves to be ours; or nobody that can be seen: the lock was freed a moment
   * ago, or its holder is exiting, or its holder belongs to another user.
   */
  | { kind: 'starting' | 'strangers' | 'nobody'; members: readonly ProcessInfo[] };

const NOBODY: Holder = { kind: 'nobody', members: [] };

/** Identifies the holder of the lock. `heirs` includes the heirs of the process: that walks through all processes. */
export function identify(spec: Files, { heirs = false }: { heirs?: boolean } = {}): Holder {
  const state = journalOf(spec).readIfReadable();
  const named = namedProcess(state);
  const isHolder = named && isCarrying(named, spec, state);
  if (named && isHolder) {
    if (!heirs) return { kind: 'process', process: named, members: [named] };
    // An heir that is missing among the recent carriers keeps the lock when the others are gone, and is ended then.
    const recent = processTable().recentCarriers(spec.lockFile, LOCK_FD).filter(isManagedCarrier);
    return withHeirs(named, recent, spec);
  }
  // An exiting process hides its descriptors, and its port may still accept: until it is gone no other is taken for it.
  if (named?.isExiting) return NOBODY;
  const { managed, starters } = lockCarriers(spec);
  if (managed.length === 0 && starters.length > 0) return { kind: 'starting', members: starters };
  const isNamed = state.isTrusted && state.isOfLastStart && isSpawnedHere(state) && starters.length === 0;
  const family = managed.filter(({ isOpenedByUs }) => isOpenedByUs !== false).map((carrier) => carrier.process);
  // The journal's word alone is enough when the descriptors of the process cannot be read, and each carrier that is
  // seen can be an heir of it.
  const isUnseen = isNamed && named !== undefined && isHolder === undefined && family.length === managed.length;
  if (isUnseen && isOfSpawn(named, state, spec) && isLocked(spec.lockFile)) {
    return { kind: 'process', process: named, members: [named, ...family] };
  }
  // The process is looked up again, because it can have died since.
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
  // If `found` still carries the lock after the others were seen to carry it, they share its open file. If not, the
  // lock changed hands meanwhile, and the carriers that were seen belong to two different holders.
  if (isCarrying(found, spec) === false) return NOBODY;
  const heirs = managed.map((carrier) => carrier.process).filter(({ pid }) => pid !== found.pid);
  return { kind: 'process', process: found, members: [found, ...heirs] };
}

/** The holders of the lock that may be ended: our process with its heirs, or its leftovers. */
export function ownHolders(spec: Files, { heirs = true } = {}): readonly ProcessInfo[] {
  const { kind, members } = identify(spec, { heirs });
  return kind === 'process' || kind === 'leftovers' ? members : [];
}

/**
 * What is to be ended when the lock is free or ours. That is the process that this thread spawned, or that the journal
 * names, if its lock file was deleted or it dropped the lock. A process that holds another lock file, which still
 * exists, is left alone: its state folder was copied or moved together with the journal. If the process is dead, its
 * survivors are to be ended: a wrapper (npm run, a launcher in Python) gives its server the log, but not the lock.
 */
export function leftBehind(spec: Files): ProcessInfo[] {
  const own = livingSpawned(spec.lockFile);
  if (own && processTable().lostLock(own.pid, LOCK_FD, spec.lockFile) !== 'elsewhere') return [own];
  const state = journalOf(spec).readIfReadable();
  const info = namedProcess(state);
  if (info === undefined || info.isExiting) return survivors(state);
  const lost = processTable().lostLock(info.pid, state.fdOf(info.pid) ?? LOCK_FD, spec.lockFile);
  if (lost !== undefined) return lost === 'deleted' ? [info] : [];
  // With the lock free, the journal alone is believed only of a session leader: all that start() spawns are leaders.
  return !state.hasBecome && isSessionLeader(info) && isOfSpawn(info, state, spec) ? [info] : [];
}

/** Do the lock file and, unless it called become(), the session of the process match its `spawn` line? */
function isOfSpawn({ pid, sessionId }: ProcessInfo, state: JournalState, { lockFile }: Files): boolean {
  const { spawned, hasBecome } = state;
  return spawned?.lockFile === lockFile && (hasBecome || (pid !== 1 && spawned.session === sessionId));
}

/** The members of the last spawned process's session that write to its log. */
function survivors(state: JournalState): ProcessInfo[] {
  const output = state.spawned?.log;
  if (output === undefined || state.isDown) return [];
  return sessionMembers(state).filter(({ pid }) => processTable().logsTo(pid, output));
}

/**
 * The members of the session that may hold the lock when it is held and no carrier is seen: the workers of nginx do, as
 * another user. None while a member is exiting, because that one may hold the lock for another instant.
 */
function unseenMembers(state: JournalState, spec: Files): ProcessInfo[] {
  const members = sessionMembers(state);
  if (members.some(({ isExiting }) => isExiting) || !isLocked(spec.lockFile)) return [];
  return members.filter((member) => isCarrying(member, spec) === undefined);
}

/** A session's number is not given to a new process while a member lives: under a new leader there are no members. */
function sessionMembers(state: JournalState): ProcessInfo[] {
  const { spawned, isTrusted } = state;
  if (spawned?.session === undefined || !isTrusted || !isSpawnedHere(state)) return [];
  const { session, startKey } = spawned;
  const leader = processTable().lookUp(session);
  if (leader !== undefined && !leader.isZombie && leader.startKey !== startKey) return [];
  const isMember = ({ pid, sessionId, isZombie }: ProcessInfo) =>
    sessionId === session && !isZombie && pid !== process.pid;
  return processTable().leftOf(spawned, isMember);
}

/** The carriers of the lock: `managed` carry it at descriptor 3, `starters` at another one while they start it. */
export function lockCarriers({ lockFile }: Files): { managed: Carrier[]; starters: ProcessInfo[] } {
  const carriers = processTable().carriers(lockFile);
  const managed = carriers.filter(isManagedCarrier);
  // A managed process that carries it at another descriptor, too, has duplicated it.
  const isManaged = ({ pid }: ProcessInfo) => managed.some((carrier) => carrier.process.pid === pid);
  return { managed, starters: carriers.map((carrier) => carrier.process).filter((info) => !isManaged(info)) };
}

/** How long to wait for a holder that is neither ours to end nor at work. The caller gets an error within 5 s. */
const STRANGER_WAIT_MS = 3_000;

export type Patience = ReturnType<typeof patienceWith>;

/** Returns a function to call with each holder that is found. It says when there is no more reason to wait. */
export function patienceWith(spec: CompleteSpec): (holder: Holder) => boolean {
  let holders = '';
  let since = now();
  // Patience is over when the same holders, neither ours nor at work, have kept the lock for STRANGER_WAIT_MS.
  return ({ kind, members }) => {
    const before = holders;
    holders = members.map(({ pid }) => pid).join();
    if (kind === 'process' || kind === 'leftovers' || holders !== before) since = now();
    if (now() - since < STRANGER_WAIT_MS) return false;
    if (areAtWork(members, spec)) since = now();
    return now() - since >= STRANGER_WAIT_MS;
  };
}

/**
 * Is a member the last starter, and within the time that its start can take? Or is a member a stopper, which keeps
 * LOCK_SH on the journal?
 */
function areAtWork(members: readonly ProcessInfo[], spec: CompleteSpec): boolean {
  const journal = journalOf(spec);
  const { last, isHandedOver } = journal.readIfReadable();
  const start = last('start');
  const isStarting = start && !isHandedOver && canBeAtWork(start, spec);
  const isStarter = (it: ProcessInfo) => it.pid === start?.by && it.startKey === (start.startKey ?? it.startKey);
  if (isStarting && members.some(isStarter)) return true;
  const stoppers = processTable().carriers(journal.path, { kind: 'shared' });
  return stoppers.some((stopper) => members.some(({ pid }) => pid === stopper.process.pid));
}

/** Is the `start` line younger than the longest start? */
export function canBeAtWork(start: JournalLine, spec: CompleteSpec): boolean {
  return lineAgeMs(start) < spec.startTimeoutMs + stopLimitMs(spec) + Number(start.prepareMs ?? 0);
}

/** The heir that goes on as the process, after that put itself into the background. */
export function successor(spec: Files): ProcessInfo | undefined {
  const managed = managedCarriers(spec);
  return bestMatch(managed, spec) ?? oldest(managed);
}

/** To be called only while we hold the lock: then each carrier at descriptor 3 shares our open file. */
export function heirsOfLock(spec: Files): ProcessInfo[] {
  return managedCarriers(spec).map((carrier) => carrier.process);
}

/** Does the process carry the lock? Undefined when that cannot be seen. */
export function isCarrying({ pid }: ProcessInfo, spec: Files, state = journalOf(spec).readIfReadable()) {
  return processTable().carries(pid, state.fdOf(pid) ?? LOCK_FD, spec.lockFile);
}

/** Is the journal's process seen to carry the lock? If so, flock(2) and its helper are spared. False proves nothing. */
export function isSeenHeld(spec: Files, state: JournalState = journalOf(spec).readIfReadable()): boolean {
  // Without /proc the system tells only who has the file open.
  const carrier = hasProc() ? namedProcess(state) : undefined;
  return carrier !== undefined && isCarrying(carrier, spec, state) === true;
}

function namedProcess(state: JournalState): ProcessInfo | undefined {
  const { spawned, hasExited, isTrusted, hasBecome } = state;
  if (spawned === undefined || !isTrusted || !isSpawnedHere(state)) return undefined;
  const living = hasExited ? undefined : lookAgain(spawned);
  // A process that called become() is signalled alone: its group is its own starter's, not ours.
  return living && hasBecome ? { ...living, groupId: 0 } : living;
}

/** Was it spawned in this boot, and in this PID namespace? Otherwise its PID means another process here. */
function isSpawnedHere({ spawned }: JournalState): boolean {
  return spawned?.boot === processTable().boot();
}

export function managedCarriers({ lockFile }: Files): Carrier[] {
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
