/**
 * Brings the process down, from any process: writes `stop` into the journal, ends the holders of the lock, and takes
 * the lock for an instant. A process of ours that gets the lock meanwhile is ended as well: a stop() leaves a free
 * lock, and a line that says so.
 */

import { lstatSync } from 'node:fs';
import { identify, leftBehind, ownHolders, patienceWith } from '../inspect/holder.js';
import { isStarterThrough } from '../inspect/status.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { sharedLockPids } from '../lock/questions.js';
import { type JournalWork, journalOf } from '../state/journal.js';
import { lineAgeMs, type Place } from '../state/journal-state.js';
import { removePidFile, writeLockFilePid } from '../state/pid-file.js';
import { type CompleteSpec, stopLimitMs } from '../state/process-spec.js';
import { Deadline, linkSignals, onAbort, Pace, throwIfAborted, whenAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, StateFileError, StopTimeoutError, stopTimeoutError } from '../support/errors.js';
import { newAbort, now } from '../support/globals.js';
import { collectChildren, hasProc, livingSpawned } from '../system/process-table.js';
import { end, type Limits, type Outcome } from './terminate.js';

/** How a `stop()` came to its end. */
export interface StopResult {
  /** 'killed': SIGKILL was needed. */
  readonly outcome: 'not-running' | 'stopped' | 'killed';
  /** Milliseconds from the call to the end. */
  readonly tookMs: number;
}

const log = debugLog('stop');
const SETTLED_MS = 1_000; // Between its line and its lock on the journal a stop or restart is not seen at work.

/** @throws StopTimeoutError | StateFileError | LockUnavailableError; the signal's reason when it is aborted */
export async function stop(spec: CompleteSpec, { signal }: { signal: AbortSignal | undefined }): Promise<StopResult> {
  throwIfAborted(signal);
  const began = now();
  const journal = journalOf(spec);
  const isGone = (file: string) => lstatSync(file, { throwIfNoEntry: false }) === undefined;
  const isOver = !becoming.has(spec.lockFile) && livingSpawned(spec.lockFile) === undefined;
  if (isOver && [spec.lockFile, spec.pidFile, journal.path].every(isGone)) return { outcome: 'not-running', tookMs: 0 };
  // The limit counts from the call: waiting for the journal is part of it.
  const limit = Deadline.exactly(stopLimitMs(spec));
  let work: JournalWork;
  try {
    journal.create();
    work = await journal.workOn('stop');
  } catch (error) {
    await bringDown(spec, { signal, limit });
    const message = `${spec.name} is stopped, but a supervisor may bring it back: ${errorText(error)}`;
    throw new StateFileError(message, { path: journal.path, cause: error });
  }
  return await finish(spec, work, began, { signal, limit });
}

/** The first half of a restart, which ends no start. A stop() at the returned place or beyond ends the second half. */
export async function stopForRestart(
  spec: CompleteSpec,
  { signal }: { signal: AbortSignal | undefined },
): Promise<{ result: StopResult; place: Place }> {
  const began = now();
  const limit = Deadline.exactly(stopLimitMs(spec));
  const journal = journalOf(spec);
  journal.create();
  const work = await journal.workOn('restart');
  const result = await finish(spec, work, began, { signal, limit });
  return { result, place: { ...work.place, offset: work.place.offset + 1 } };
}

/** Ends the process under LOCK_SH on the journal. A start that undid the line had the lock: nothing is left to end. */
async function finish(spec: CompleteSpec, work: JournalWork, began: number, limits: Limits): Promise<StopResult> {
  const journal = journalOf(spec);
  try {
    const isUndone = journal.readIfReadable().isUndone(work.place);
    let outcome: Outcome = isUndone ? 'not-running' : await bringDown(spec, limits);
    const isAbandoned = () => (journal.readIfReadable().last('abandon')?.place ?? -1) > work.place.offset;
    // A start that saw the line first has ended its process itself.
    if (!isUndone && outcome === 'not-running' && isAbandoned()) outcome = 'stopped';
    await collectChildren();
    const result = { outcome, tookMs: Math.round(now() - began) };
    log('%s: %s', spec.name, outcome);
    // `stopped` is written while LOCK_SH is held. Later, or for an undone line, it would be about the next process.
    if (!isUndone) journal.note('stopped', { ...result });
    return result;
  } finally {
    work.release();
  }
}

/**
 * Ends a sick process. False when somebody else is ending it, or it is not there. A pending line of a stop, restart or
 * start that was killed stops nobody.
 * @param pid undefined for leftovers
 */
export async function endSick(spec: CompleteSpec, pid: number | undefined): Promise<boolean> {
  const journal = journalOf(spec);
  const { pendingLine } = journal.read();
  if (pendingLine && (Math.abs(lineAgeMs(pendingLine)) < SETTLED_MS || (await journal.probeStopAtWork()))) return false;
  const work = await journal.holdShared();
  try {
    const holder = identify(spec);
    const isSickOne = holder.kind === 'process' ? holder.process.pid === pid : holder.kind === 'leftovers';
    // Read last: the line is written in the same turn.
    const state = journal.read();
    const hasStartedItself = state.hasBecome && state.isOfLastStart;
    const isAbandoning = pendingLine && !hasStartedItself && !isStarterThrough(spec, state);
    if (!isSickOne || isAbandoning || state.pendingLine?.place !== pendingLine?.place) return false;
    // A `restart` line would make the process wanted again, although a stop() may be called at this moment.
    journal.append('abandon');
    await bringDown(spec);
    return true;
  } finally {
    work.release();
  }
}

interface Work {
  readonly outcome: Promise<Outcome>;
  readonly abort: AbortController;
  /** How many calls wait for the outcome. */
  callers: number;
}

/**
 * The work under way in this process, keyed by what it ends. Concurrent calls share one: separately, each would walk
 * through all processes, and get in the way of the others.
 */
const underWay = new Map<string, Work>();

/** For each lock file under which this very process is the managed one: how it gives up. It does not signal itself. */
export const becoming = new Map<string, () => void>();

function giveUpOwn({ lockFile }: CompleteSpec): Outcome {
  const release = becoming.get(lockFile);
  release?.();
  return release === undefined ? 'not-running' : 'stopped';
}

/** Ends the holders of the lock until the lock could be taken for an instant. Writes nothing into the journal. */
export async function bringDown(
  spec: CompleteSpec,
  { signal, limit = Deadline.exactly(stopLimitMs(spec)) }: Pick<Limits, 'signal' | 'limit'> = {},
): Promise<Outcome> {
  const { lockFile, pidFile, command, stopSignal, stopTimeoutMs } = spec;
  const key = JSON.stringify([lockFile, pidFile, command, stopSignal, stopTimeoutMs]);
  for (;;) {
    throwIfAborted(signal);
    const shared = underWay.get(key);
    try {
      return await takePart(shared ?? beginWork(spec, key, limit), signal);
    } catch (error) {
      // The work that this call shared began earlier, with an earlier limit: this call still has time.
      if (!(error instanceof StopTimeoutError) || shared === undefined || limit.isOver) throw error;
    }
  }
}

async function takePart(work: Work, signal: AbortSignal | undefined): Promise<Outcome> {
  const ownSignal = linkSignals(signal);
  work.callers += 1;
  try {
    return await Promise.race([work.outcome, whenAborted(ownSignal.signal)]);
  } finally {
    ownSignal.clear();
    work.callers -= 1;
    if (work.callers === 0) work.abort.abort();
  }
}

function beginWork(spec: CompleteSpec, key: string, limit: Deadline): Work {
  const abort = newAbort();
  const leave = () => {
    if (underWay.get(key) === work) underWay.delete(key);
  };
  onAbort(abort.signal, leave);
  const work = {
    outcome: bringDownAlone(spec, { signal: abort.signal, limit }, leave).finally(leave),
    abort,
    callers: 0,
  };
  underWay.set(key, work);
  work.outcome.catch(() => undefined);
  return work;
}

/** @param beforeFreed called before the lock is given back: a call that comes after that needs work of its own */
async function bringDownAlone(
  spec: CompleteSpec,
  { signal, limit }: { signal: AbortSignal; limit: Deadline },
  beforeFreed: () => void,
): Promise<Outcome> {
  const isPatienceOver = patienceWith(spec);
  const pace = new Pace({ maxMs: 25 });
  let outcome = giveUpOwn(spec);
  // With SIGKILL the walk for heirs can wait until the process is dead: they keep the lock, and the second look finds them.
  let heirs = spec.stopSignal !== 'SIGKILL' || spec.stopTimeoutMs === 0 || !hasProc();
  const find = () => {
    const found = ownHolders(spec, { heirs: heirs || limit.isOver });
    heirs = true;
    return found;
  };
  let lateLooks = 0;
  for (;;) {
    throwIfAborted(signal);
    const lock = tryAcquireLock(spec.lockFile);
    if (lock !== undefined) {
      try {
        // A process that this thread spawned is ended wherever its lock file is by now.
        const ownChild = () => [livingSpawned(spec.lockFile)].filter((own) => own !== undefined);
        outcome = combine(outcome, await end(spec, ownChild, { signal, limit }));
        outcome = combine(outcome, await endLeftBehind(spec, { signal, limit }));
        removePidFile(spec.pidFile);
        writeLockFilePid(lock, undefined);
        return outcome;
      } finally {
        beforeFreed();
        lock.handOver();
      }
    }
    // Two looks may begin after the limit: on a busy machine it can pass before the end of a process or its heirs is seen.
    if (limit.isOver) lateLooks += 1;
    const ended = await end(spec, find, { signal, limit });
    outcome = combine(outcome, ended);
    if (ended !== 'not-running' && lateLooks < 2) continue;
    const holder = identify(spec);
    if (holder.kind === 'starting') outcome = combine(outcome, 'stopped');
    if (isPatienceOver(holder) || limit.isOver) {
      const owners = sharedLockPids(spec.lockFile).map((pid) => ({ pid }));
      throw stopTimeoutError(spec, holder.members.length > 0 ? holder.members : owners);
    }
    await pace.wait({ deadline: limit, signal });
  }
}

/** Call it while we hold the lock. Survivors are seen only after their process died: it looks until none is left. */
export async function endLeftBehind(spec: CompleteSpec, limits: Limits): Promise<Outcome> {
  const { limit = Deadline.after(stopLimitMs(spec)) } = limits;
  // This very process may have called become() on a lock file that was deleted: it gives up and does not signal itself.
  let outcome = giveUpOwn(spec);
  for (;;) {
    const ended = await end(spec, leftBehind, { ...limits, limit });
    if (ended === 'not-running') return outcome;
    outcome = combine(outcome, ended);
    if (limit.isOver) throw stopTimeoutError(spec, leftBehind(spec));
  }
}

function combine(before: Outcome, ended: Outcome): Outcome {
  return ended === 'not-running' || before === 'killed' ? before : ended;
}
