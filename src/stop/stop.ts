/**
 * Bring the process down, from whichever process: say so in the journal, end who holds the lock, take the lock for an instant.
 * Whoever holds the lock meanwhile is ended as well: what a stop() leaves behind is a free lock, and a line that says so.
 */

import { lstatSync } from 'node:fs';
import { type Holder, identify, lostProcess } from '../inspect/holder.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import type { FileLock } from '../lock/held-lock.js';
import { type JournalWork, journalOf } from '../state/journal.js';
import type { Place } from '../state/journal-state.js';
import { removePidFile, writeLockFilePid } from '../state/pid-file.js';
import { type CompleteSpec, stopLimitMs } from '../state/process-spec.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, StateFileError, stopTimeoutError } from '../support/errors.js';
import { now } from '../support/globals.js';
import type { ProcessInfo } from '../system/process-info.js';
import { type TerminateOptions, terminate } from './terminate.js';

/** How a `stop()` came to its end. */
export interface StopResult {
  /** 'killed': SIGKILL was needed. */
  readonly outcome: 'not-running' | 'stopped' | 'killed';
  /** Milliseconds from the call to the end. */
  readonly tookMs: number;
}

type Outcome = StopResult['outcome'];

const log = debugLog('stop');

/** How long a holder that is not ours to signal is waited for. A starter is waited for as long as a stop may take. */
const UNTOUCHABLE_WAIT_MS = 5_000;

/** @throws StopTimeoutError | StateFileError | LockUnavailableError; the signal's reason when it is aborted */
export async function stop(spec: CompleteSpec, { signal }: { signal?: AbortSignal | undefined }): Promise<StopResult> {
  signal?.throwIfAborted();
  const began = now();
  const { path } = journalOf(spec);
  const isMissing = (file: string) => lstatSync(file, { throwIfNoEntry: false }) === undefined;
  if ([spec.lockFile, spec.pidFile, path].every(isMissing)) return { outcome: 'not-running', tookMs: 0 };
  let work: JournalWork | undefined;
  let failure: unknown;
  try {
    work = await announce(spec, 'stop');
  } catch (error) {
    failure = error;
  }
  const result = await endUnder(spec, work, { signal, began });
  if (work !== undefined) return result;
  const message = `${spec.name} is stopped, but a supervisor may bring it back: ${errorText(failure)}`;
  throw new StateFileError(message, { path, cause: failure });
}

/**
 * The first half of a restart: whoever supervises it elsewhere stands by, and nobody's start is ended.
 * @returns the place from which on a stop() ends the second half
 * @throws as stop() does
 */
export async function stopForRestart(
  spec: CompleteSpec,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<{ result: StopResult; place: Place }> {
  const began = now();
  const work = await announce(spec, 'restart');
  const result = await endUnder(spec, work, { signal, began });
  return { result, place: { ...work.place, offset: work.place.offset + 1 } };
}

/** Appends the line in the turn of the call, then takes LOCK_SH on the journal. @throws StateFileError */
async function announce(spec: CompleteSpec, event: 'stop' | 'restart'): Promise<JournalWork> {
  const journal = journalOf(spec);
  journal.create();
  return await journal.workOn(event);
}

/** With LOCK_SH on the journal, where it could be had. A start that has undone the line saw the lock free: nothing is left to end. */
async function endUnder(
  spec: CompleteSpec,
  work: JournalWork | undefined,
  { signal, began }: { signal?: AbortSignal | undefined; began: number },
): Promise<StopResult> {
  const journal = journalOf(spec);
  const resultOf = (outcome: Outcome) => ({ outcome, tookMs: Math.round(now() - began) });
  try {
    if (work !== undefined && journal.readIfReadable().isUndone(work.place)) return resultOf('not-running');
    const result = resultOf(await bringDown(spec, { signal }));
    log('%s: %s', spec.name, result.outcome);
    // Before the lock is given back: after that, and when the line is undone, it would say that the next process has ended.
    if (work !== undefined) journal.note('stopped', { ...result });
    return result;
  } finally {
    work?.release();
  }
}

/**
 * A supervisor ends a process that is sick. Not when it is to be ended already, or another one is there now.
 * @param pid the sick one, undefined for leftovers
 * @returns whether it was ended
 */
export async function endSick(spec: CompleteSpec, pid: number | undefined): Promise<boolean> {
  const journal = journalOf(spec);
  const isSickOne = () => {
    const holder = identify(spec);
    return holder.kind === 'process' ? holder.process.pid === pid : holder.kind === 'leftovers';
  };
  const work = await journal.holdShared();
  try {
    if (journal.read().isPending || !isSickOne()) return false;
    // Not a restart: that would make a process wanted again which somebody stops at this moment.
    journal.append('abandon');
    await bringDown(spec, {});
    return true;
  } finally {
    work.release();
  }
}

/** End whatever holds the lock until it could be taken for an instant, and remove the PID file. Writes nothing into the journal. */
export async function bringDown(
  spec: CompleteSpec,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<Outcome> {
  const limit = Deadline.after(stopLimitMs(spec));
  let untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
  const pace = new Pace({ maxMs: 25 });
  let outcome: Outcome = 'not-running';
  for (;;) {
    signal?.throwIfAborted();
    const lock = tryAcquireLock(spec.lockFile);
    if (lock !== undefined) return await finish(spec, lock, outcome, { signal, limit });
    // On a machine that is too busy time can be over before it was seen that everybody is gone: one more look.
    const isLast = limit.isOver;
    const ended = await endHolder(spec, { signal, limit });
    outcome = combine(outcome, ended);
    if (ended !== 'not-running') untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
    if (ended !== 'not-running' && !isLast) continue;
    const holder = identify(spec);
    if (holder.kind === 'starting') {
      outcome = combine(outcome, 'stopped');
      untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
    }
    if (limit.isOver || untouched.isOver) throw stopTimeoutError(spec, holders(holder));
    await pace.wait({ deadline: limit, signal });
  }
}

/** With the lock for an instant: nobody starts it meanwhile. */
async function finish(
  spec: CompleteSpec,
  lock: FileLock,
  before: Outcome,
  limits: Limits,
): Promise<Outcome> {
  try {
    const outcome = combine(before, await endLostProcess(spec, limits));
    removePidFile(spec.pidFile);
    writeLockFilePid(lock, undefined);
    return outcome;
  } finally {
    lock.handOver();
  }
}

type Limits = Pick<TerminateOptions, 'limit' | 'signal' | 'guard'>;

/** End our process, its heirs, or its leftovers, if they are what holds the lock. @throws StopTimeoutError when they stay */
export async function endHolder(spec: CompleteSpec, limits: Limits): Promise<Outcome> {
  return await end(spec, () => endable(identify(spec, { heirs: true })), limits);
}

/** End a process that lost its lock file. Only under the lock, so that nobody starts another one meanwhile. */
export async function endLostProcess(spec: CompleteSpec, limits: Limits): Promise<Outcome> {
  return await end(spec, () => [lostProcess(spec)].filter((process) => process !== undefined), limits);
}

async function end(spec: CompleteSpec, find: () => readonly ProcessInfo[], limits: Limits): Promise<Outcome> {
  const { stopSignal, stopTimeoutMs } = spec;
  const { outcome, survivors } = await terminate(find, { stopSignal, graceMs: stopTimeoutMs, ...limits });
  if (survivors.length > 0) throw stopTimeoutError(spec, survivors);
  return outcome;
}

function endable(holder: Holder): readonly ProcessInfo[] {
  if (holder.kind === 'process') return [holder.process, ...holder.heirs];
  return holder.kind === 'leftovers' ? holder.members : [];
}

/** Whom a StopTimeoutError names. */
export function holders(holder: Holder): number[] {
  if (holder.kind === 'starting') return holder.starters.map(({ pid }) => pid);
  return [...(holder.kind === 'strangers' ? holder.holders : endable(holder))].map(({ pid }) => pid);
}

function combine(before: Outcome, ended: Outcome): Outcome {
  return ended === 'not-running' || before === 'killed' ? before : ended;
}
