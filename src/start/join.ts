/**
 * What a start does while another holder has the lock: it waits until the process is ready and returns it, waits for
 * its end or ends it, adopts what a dead process left, or throws the reason why the process cannot be used.
 */

import { findHealthy, findListener, instanceOf, isAnswering, isReady, readinessOf } from '../inspect/checks.js';
import { type Holder, identify, isCarrying, managedCarriers, ownHolders, type Patience } from '../inspect/holder.js';
import { identifyOften, isBeginning, isStarterThrough } from '../inspect/status.js';
import { isBeingEnded } from '../inspect/watcher.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import type { FileLock } from '../lock/held-lock.js';
import { isLocked } from '../lock/questions.js';
import { differencesOf, refuseUnlessRestart } from '../state/drift.js';
import { journalOf } from '../state/journal.js';
import type { JournalState } from '../state/journal-state.js';
import { isNamedIn, writePidFile } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, stopLimitMs } from '../state/process-spec.js';
import { becoming } from '../stop/stop.js';
import { end } from '../stop/terminate.js';
import { Deadline, Pace, poll, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { StateFileError, stopTimeoutError } from '../support/errors.js';
import { now } from '../support/globals.js';
import { type Carrier, hasProc, isAlive, type ProcessInfo, processTable } from '../system/process-table.js';
import { ContendAgain, checkWanted, launch, type StartOptions } from './launch.js';
import { appendSpawn, findCommand } from './spawn.js';
import { LAST_LOOK_MS, lastStatus, refuseSharedLock, unhealthyError } from './wait-until-ready.js';

const log = debugLog('start');

/** How long after its start time a starter can still hold the lock, while it ends the process that it spawned. */
const STARTER_LINGERS_MS = 5_000;

/** Without /proc a look runs programs, so it is taken only this often while the journal shows a starter at work. */
export const LOOK_EVERY_MS = 2_000;

export type Contest = StartOptions & { spec: CompleteSpec; deadline: Deadline; nextLook: Deadline; patience: Patience };

/** Looks at the holder once. Undefined: contend again. @throws UnhealthyError when the process is not ready in time */
export async function join(contest: Contest): Promise<Instance | undefined> {
  const { spec, signal, announce } = contest;
  // The last look begins after the deadline: on a busy machine one look can outlast it and report an earlier state.
  const isLast = contest.deadline.isOver;
  const state = checkWanted(spec, contest);
  if (!hasProc() && !state.isPending && !state.isHandedOver && !contest.nextLook.isOver) return undefined;
  contest.nextLook = Deadline.after(LOOK_EVERY_MS);
  const holder = identifyOften(spec);
  // A holder that cannot be seen may be exiting, so it is not taken for a stranger.
  const isStranger = contest.patience(holder) && holder.members.length > 0;
  if (state.isPending) {
    const isUnderWay = (await waitForStopAtWork(contest)) || (await finishStop(contest, holder, signal));
    if (typeof isUnderWay === 'object') return isUnderWay;
    if (!isUnderWay && (isStranger || contest.deadline.isOver)) throw stopTimeoutError(spec, identify(spec).members);
    return undefined;
  }
  if (holder.kind === 'leftovers') {
    // A healthy candidate goes on as the process. If none is healthy, all leftovers are ended.
    const found = await findHealthy(spec, holder.candidates, signal);
    throwIfAborted(signal);
    return found ? await reuse(contest, found.process, state) : await abandonFound(contest, state);
  }
  if (holder.kind === 'process') {
    const { process: info } = holder;
    // The starter was killed before it named its process: nothing says where the output of the process begins.
    const isUnnamed = spec.readyLine !== undefined && state.starting !== undefined && !state.isHandedOver;
    const isOurs = ({ process, isOpenedByUs }: Carrier) => process.pid === info.pid && isOpenedByUs !== false;
    if (isUnnamed && isStarterThrough(spec, state) && managedCarriers(spec).some(isOurs)) {
      return isBeingEnded(info, spec) ? await waitForEnd(contest, info) : await abandonFound(contest, state);
    }
    const isJudged = spec.whenDifferent !== 'reuse' && !contest.isBecoming && isStarterThrough(spec, state);
    // A tied one whose owner is gone is neither refused nor ended once more: it will be gone in a moment.
    const differences = isJudged ? differencesOf(spec, info.pid, state) : [];
    if (differences.length > 0) {
      if (isBeingEnded(info, spec)) return await waitForEnd(contest, info);
      refuseUnlessRestart(spec, info.pid, differences);
      return await replace(contest, holder, state);
    }
    const isShareable = await isReadyToShare(contest, info, state);
    // isBeingEnded() walks through all processes. Nobody ends a shared process while this start is its user.
    const isUser = spec.lifetime === 'shared' && state.spawned?.lifetime === 'shared';
    if ((isShareable ? !isUser : contest.deadline.isOver) && isBeingEnded(info, spec))
      return await waitForEnd(contest, info);
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

/** After `abandon` no start adopts what was found. Each start that meets it ends it, this one at its next look. */
async function abandonFound(contest: Contest, before: JournalState): Promise<undefined> {
  await appendOrWait(contest, before, () => journalOf(contest.spec).append('abandon'));
}

/** Restarts a process of another spec, unless something changed. After `restart` is written, no abort stops this. */
async function replace(contest: Contest, holder: Holder, before: JournalState): Promise<Instance | undefined> {
  const { spec } = contest;
  const journal = journalOf(spec);
  // The running process must not be ended for a command that does not exist.
  if (spec.prepare === undefined) findCommand(spec);
  const appendRestart = () => {
    journal.append('restart');
    const { last } = journal.read();
    const [stop = -1, restart = -1] = [last('stop')?.place, last('restart')?.place];
    // A stop() writes without a lock. If it wrote after the look, the `restart` line would undo it: write `stop` again.
    if (stop >= before.endPlace.offset && stop < restart) journal.append('stop');
  };
  if (!(await appendOrWait(contest, before, appendRestart))) return undefined;
  const done = await finishStop(contest, holder, undefined);
  return typeof done === 'object' ? done : undefined;
}

/** Waits until the watcher, or the last user, has ended the process. That time does not count as start time. */
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
  // Another start can spawn the next process first, and that one has the whole start time.
  if (isAlive(info)) contest.deadline = contest.deadline.extendedBy(now() - began);
  else contest.deadline = Deadline.after(spec.startTimeoutMs);
}

/** Waits while a stop() or restart() is at work. That does not count as start time. @returns whether there was one */
export async function waitForStopAtWork(contest: Contest): Promise<boolean> {
  const { spec, signal } = contest;
  const journal = journalOf(spec);
  const began = now();
  const limit = Deadline.after(stopLimitMs(spec));
  let patience = Deadline.after(spec.startTimeoutMs);
  const pace = new Pace({ firstMs: 2, maxMs: 25 });
  let hasWaited = false;
  while (await journal.probeStopAtWork()) {
    const { isPending, pendingBy } = checkWanted(spec, contest);
    contest.announce('waiting', { for: 'stop', pid: pendingBy });
    if (isPending) patience = Deadline.after(spec.startTimeoutMs);
    if (isPending ? limit.isOver : patience.isOver) {
      if (isPending && isLocked(spec.lockFile)) throw stopTimeoutError(spec, identify(spec).members);
      // Nothing is left to stop, so another program, or a suspended process, has the lock on the journal.
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
 * Ends a pending process when nobody is at work on it, for instance because its stopper died. A starter that has the
 * lock is left alone: it meets the pending line itself. LOCK_SH on the journal is kept until this start has the lock: a
 * supervisor that wins it meanwhile, perhaps with another spec, is refused at the journal, and gives it back.
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
      // This very process called become(): it gives up the lock, and does not signal itself.
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
  // Many starts can wait for a starter: with /proc it is asked before the server is, except in the last look.
  if (hasProc() && !deadline.isOver && !isStarterThrough(spec, state)) return false;
  const limit = Deadline.after(Math.max(deadline.remainingMs, LAST_LOOK_MS));
  // A starter that is still at work may be about to abandon the process.
  if (!(await isReady(spec, info, { signal, limit })) || !isStarterThrough(spec, state)) return false;
  // No start takes longer than this: the starter has checked the listener, or the listener has been there all the time.
  if (processTable().age(info) > spec.startTimeoutMs + STARTER_LINGERS_MS) return true;
  if (state.isReady) return findListener(spec, info).stranger === undefined;
  return await isAnswering(spec, info, { signal, limit });
}

/** Returns the process after a last look: alive, same start, nothing pending. A stop that signalled it would show. */
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
  // If the starter died before the process was ready, a `ready` line saves others the search for the ready line.
  const isKnown = isNamed && (state.isReady || spec.readyLine === undefined);
  if (!isKnown && !(await appendOrWait(contest, state, adopt))) return undefined;
  if (!isNamedIn(spec.pidFile, info)) writePidFile(spec, info);
  log('%s runs already: PID %d', spec.name, info.pid);
  const differences = differencesOf(spec, info.pid, journalOf(spec).readIfReadable());
  // join() did not judge the differences, because the starter was still at work: its next look does.
  if (differences.length > 0 && spec.whenDifferent !== 'reuse') return undefined;
  return instanceOf(spec, info, { reused: true, differences });
}

/** Appends under LOCK_EX unless something has changed: no start may return what another one abandons. */
async function appendOrWait(contest: Contest, before: JournalState, append: () => void): Promise<boolean> {
  const result = journalOf(contest.spec).exclusively((state) => {
    if (!isUnchanged(state, before)) return 'changed';
    append();
    return 'appended';
  });
  if (result !== 'appended') await waitForStopAtWork(contest);
  return result === 'appended';
}

function isUnchanged(state: JournalState, before: JournalState): boolean {
  const isSame = (event: 'start' | 'spawn') => state.last(event)?.place === before.last(event)?.place;
  return !state.isPending && isSame('start') && isSame('spawn');
}
