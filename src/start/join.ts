/**
 * What a start does while somebody else has the lock: wait until the process is ready and hand it out, wait for its end or
 * bring that about, adopt what a dead one has left, or say why it cannot be had.
 */

import { findHealthy, foreignListener, instanceOf, isReady, LAST_LOOK_MS, readinessOf } from '../inspect/checks.js';
import { type Holder, identify, isCarrying, lockCarriers, ownHolders, type Patience } from '../inspect/holder.js';
import { isBeginning } from '../inspect/status.js';
import { isBeingEnded } from '../inspect/watcher.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import type { FileLock } from '../lock/held-lock.js';
import { isLocked } from '../lock/questions.js';
import { differencesOf, isToBeReplaced } from '../state/drift.js';
import { journalOf } from '../state/journal.js';
import type { JournalState } from '../state/journal-state.js';
import { isNamedIn, writePidFile } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, stopLimitMs } from '../state/process-spec.js';
import { becoming, end } from '../stop/stop.js';
import { Deadline, Pace, poll, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { StateFileError, stopTimeoutError } from '../support/errors.js';
import { now } from '../support/globals.js';
import { hasProc, isAlive, type ProcessInfo, processTable } from '../system/process-table.js';
import { ContendAgain, checkWanted, launch, type StartOptions } from './launch.js';
import { appendSpawn, findCommand } from './spawn.js';
import { lastStatus, refuseSharedLock, unhealthyError } from './wait-until-ready.js';

const log = debugLog('start');

/** How much longer than its start time a starter can be there: it ends what it spawned. */
const STARTER_LINGERS_MS = 5_000;

/** Without /proc a look takes the run of programs: while the journal says that a starter is at work there is no other need. */
export const LOOK_EVERY_MS = 2_000;

export type Contest = StartOptions & { spec: CompleteSpec; deadline: Deadline; nextLook: Deadline; patience: Patience };

/** The lock is held by somebody: its process, when that is ready. @throws UnhealthyError when start time is over */
export async function join(contest: Contest): Promise<Instance | undefined> {
  const { spec, signal, announce } = contest;
  // On a machine that is too busy a look can take all the time that there is, and see what was before: one more look.
  const isLast = contest.deadline.isOver;
  const state = checkWanted(spec, contest);
  if (!hasProc() && !state.isPending && !state.isHandedOver && !contest.nextLook.isOver) return undefined;
  contest.nextLook = Deadline.after(LOOK_EVERY_MS);
  const holder = identify(spec);
  // Who is not seen can be one that is just going.
  const isStranger = contest.patience(holder) && holder.members.length > 0;
  if (state.isPending) {
    const isUnderWay = (await waitForStopAtWork(contest)) || (await finishStop(contest, holder, signal));
    if (typeof isUnderWay === 'object') return isUnderWay;
    if (!isUnderWay && (isStranger || contest.deadline.isOver)) throw stopTimeoutError(spec, identify(spec).members);
    return undefined;
  }
  if (holder.kind === 'leftovers') {
    // One that is healthy goes on as the process, otherwise all are ended.
    const found = await findHealthy(spec, holder.candidates, signal);
    throwIfAborted(signal);
    if (found !== undefined) return await reuse(contest, found.process, state);
    // From here on nobody adopts them, and whoever meets them ends them, as this start does when it looks next.
    if (!appendIfUnchanged(spec, state, () => journalOf(spec).append('abandon'))) await waitForStopAtWork(contest);
    return undefined;
  }
  if (holder.kind === 'process') {
    const { process: info } = holder;
    const isJudged = spec.whenDifferent !== 'reuse' && !contest.isBecoming && isStarterThrough(spec, state);
    // A tied one whose owner is gone is neither refused nor ended once more: it will be gone in a moment.
    const isDiffering = isJudged && differencesOf(spec, info.pid, state).length > 0;
    if (isDiffering && isBeingEnded(info, spec)) return await waitForEnd(contest, info);
    if (isDiffering && isToBeReplaced(spec, info.pid, state)) return await replace(contest, holder, state);
    const isShareable = await isReadyToShare(contest, info, state);
    // A walk through all processes. Of a shared one that is handed out the users have been counted.
    const isAsked = isShareable ? spec.lifetime !== 'shared' : contest.deadline.isOver;
    if (isAsked && isBeingEnded(info, spec)) return await waitForEnd(contest, info);
    if (isShareable) return await reuse(contest, info, state);
  }
  const [member] = holder.kind === 'process' || holder.kind === 'starting' ? holder.members : [];
  if (state.preparesForMs !== undefined && holder.kind !== 'process' && isBeginning(state, holder, spec)) {
    contest.deadline = Deadline.after(spec.startTimeoutMs);
    announce('waiting', { for: 'prepare', pid: state.begun?.by });
    return undefined;
  }
  if (!isStranger && !isLast) {
    if (member !== undefined) announce('waiting', { for: 'ready', pid: member.pid });
    return undefined;
  }
  const status = await lastStatus(spec);
  if (status.state !== 'stopped') throw unhealthyError(spec, status);
  refuseSharedLock(spec);
  return undefined;
}

/** Pending from here on, unless somebody else was quicker, and ended whether this start is aborted or not: nobody else need do it. */
async function replace(contest: Contest, holder: Holder, before: JournalState): Promise<Instance | undefined> {
  const { spec } = contest;
  const journal = journalOf(spec);
  // What runs is not ended for a command that is not there.
  if (spec.prepare === undefined) findCommand(spec);
  const appendRestart = () => {
    journal.append('restart');
    const { last } = journal.read();
    const [stop = -1, restart = -1] = [last('stop')?.place, last('restart')?.place];
    // A stop() writes without a lock: one that came between the look and this line would be undone by it.
    if (stop >= before.endPlace.offset && stop < restart) journal.append('stop');
  };
  if (!appendIfUnchanged(spec, before, appendRestart)) {
    await waitForStopAtWork(contest);
    return undefined;
  }
  const done = await finishStop(contest, holder, undefined);
  return typeof done === 'object' ? done : undefined;
}

/** What its watcher, or its last user, takes to end it does not count as start time. */
async function waitForEnd(contest: Contest, info: ProcessInfo): Promise<undefined> {
  const { spec, signal } = contest;
  const began = now();
  contest.announce('waiting', { for: 'stop', pid: undefined });
  const isOver = () => {
    checkWanted(spec, contest);
    return !isAlive(info) || !isBeingEnded(info, spec);
  };
  const deadline = Deadline.after(stopLimitMs(spec));
  const pace = new Pace({ maxMs: 200 });
  if (!(await poll(isOver, { deadline, signal, pace }))) throw stopTimeoutError(spec, [info]);
  // Somebody else can be quicker to start the next one.
  if (isAlive(info)) contest.deadline = contest.deadline.extendedBy(now() - began);
  else contest.deadline = Deadline.after(spec.startTimeoutMs);
}

/** It does not count as start time. @returns whether there was one */
export async function waitForStopAtWork(contest: Contest): Promise<boolean> {
  const { spec, signal } = contest;
  const journal = journalOf(spec);
  const began = now();
  const limit = Deadline.after(stopLimitMs(spec));
  let patience = Deadline.after(spec.startTimeoutMs);
  const pace = new Pace({ firstMs: 2, maxMs: 25 });
  let hasWaited = false;
  while (await journal.isStopAtWork()) {
    const { isPending, pendingBy } = checkWanted(spec, contest);
    contest.announce('waiting', { for: 'stop', pid: pendingBy });
    if (isPending) patience = Deadline.after(spec.startTimeoutMs);
    if (isPending ? limit.isOver : patience.isOver) {
      if (isPending && isLocked(spec.lockFile)) throw stopTimeoutError(spec, identify(spec).members);
      // Nothing is left to stop: the lock is another program's, or of a process that is suspended.
      const { path } = journal;
      throw new StateFileError(`Cannot start ${spec.name}: another process keeps "${path}" locked`, { path });
    }
    hasWaited = true;
    await pace.wait({ signal });
  }
  contest.deadline = contest.deadline.extendedBy(now() - began);
  return hasWaited;
}

/**
 * Nobody is at it, or whoever was to end it has died: do it. Not while only a starter has the lock, which meets the line itself.
 * LOCK_SH is kept until the lock is had: a supervisor that wins it meanwhile, and may have another spec, is refused at the
 * journal, and gives it back.
 */
async function finishStop(contest: Contest, holder: Holder, signal: Contest['signal']): Promise<Instance | boolean> {
  const { spec } = contest;
  if (holder.kind === 'starting') return false;
  const work = await journalOf(spec).holdShared();
  let lock: FileLock | undefined;
  try {
    const { isPending, pendingBy } = checkWanted(spec, { ...contest, signal });
    if (!isPending) return true;
    const release = becoming.get(spec.lockFile);
    if (release !== undefined) {
      // This process has become the managed one: it ends that, not itself.
      release();
      return true;
    }
    contest.announce('waiting', { for: 'stop', pid: pendingBy });
    if ((await end(spec, ownHolders, { signal })) === 'not-running') return false;
    if (contest.isBecoming) return true;
    lock = await poll(() => tryAcquireLock(spec.lockFile), { deadline: Deadline.after(1_000), signal });
  } finally {
    work.release();
  }
  if (lock === undefined) return true;
  return await launch(spec, lock, contest).catch((error: unknown) => {
    if (!(error instanceof ContendAgain)) throw error;
    return true;
  });
}

async function isReadyToShare(contest: Contest, info: ProcessInfo, state: JournalState): Promise<boolean> {
  const { spec, signal, deadline } = contest;
  const limit = Deadline.after(Math.max(deadline.remainingMs, LAST_LOOK_MS));
  if (!(await isReady(spec, info, { signal, limit }))) return false;
  // Whoever is still starting it can be about to give it up.
  if (!isStarterThrough(spec, state)) return false;
  // Older than any start can take: its listener was looked at, or has been there all the time.
  if (processTable().age(info) > spec.startTimeoutMs + STARTER_LINGERS_MS) return true;
  return foreignListener(spec, info) === undefined;
}

/** The last look: the same start, nothing pending, and it is still there. A stop that had signalled it has left one of them. */
async function reuse(contest: Contest, info: ProcessInfo, before: JournalState): Promise<Instance | undefined> {
  const { spec } = contest;
  const state = checkWanted(spec, contest);
  if (!isUnchanged(state, before) || !isAlive(info) || isCarrying(info, spec) === false) return undefined;
  const { pid } = info;
  const isNamed = state.spawned?.pid === pid;
  const { port } = readinessOf(spec);
  const adopt = () => {
    if (!isNamed) appendSpawn(spec, info, state.spawned ?? {});
    journalOf(spec).append('ready', { pid, port });
  };
  // Of one whose starter died before it was ready nobody else need find the line again.
  const isKnown = isNamed && (state.isReady || spec.readyLine === undefined);
  if (!isKnown && !appendIfUnchanged(spec, state, adopt)) {
    await waitForStopAtWork(contest);
    return undefined;
  }
  if (!isNamedIn(spec.pidFile, info)) writePidFile(spec, info);
  log('%s runs already: PID %d', spec.name, info.pid);
  const differences = differencesOf(spec, info.pid, journalOf(spec).readIfReadable());
  // Its starter was not through yet when it was looked at: the next look decides.
  if (differences.length > 0 && spec.whenDifferent !== 'reuse') return undefined;
  return instanceOf(spec, info, { reused: true, differences });
}

/** Under LOCK_EX: nobody hands out what another start abandons. */
function appendIfUnchanged(spec: CompleteSpec, before: JournalState, append: () => void): boolean {
  const result = journalOf(spec).exclusively((state) => {
    if (!isUnchanged(state, before)) return 'changed';
    append();
    return 'appended';
  });
  return result === 'appended';
}

function isUnchanged(state: JournalState, before: JournalState): boolean {
  const isSame = (event: 'start' | 'spawn') => state.last(event)?.place === before.last(event)?.place;
  return !state.isPending && isSame('start') && isSame('spawn');
}

/** Has the last start handed its process over, or died? Without a journal that tells: does nobody have the lock as a starter has? */
function isStarterThrough(spec: CompleteSpec, state: JournalState): boolean {
  const last = state.last('start');
  if (last === undefined) return lockCarriers(spec).starters.length === 0;
  if (state.isHandedOver) return true;
  // A zombie is dead: its parent may never collect it. A thread that was ended has left its process without the lock.
  const isAtWork = typeof last.startKey === 'string' && isAlive({ pid: last.by, startKey: last.startKey });
  return !isAtWork || !lockCarriers(spec).starters.some(({ pid }) => pid === last.by);
}
