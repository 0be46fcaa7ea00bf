/**
 * Bring the process down, from whichever process: mark it down, end who holds the lock, take the lock for an instant.
 * Whoever holds the lock meanwhile is ended as well: what a stop() leaves behind is a free lock and a mark.
 */

import { lstatSync } from 'node:fs';
import { type Holder, identify, lostProcess } from '../inspect/holder.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { clearMark, type HeldMark, joinMark, markDown, markRestart } from '../state/down-mark.js';
import { removeRecord } from '../state/pid-file.js';
import { besideLockFile, type CompleteSpec, stopLimitMs } from '../state/process-spec.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText, StateFileError, stopTimeoutError } from '../support/errors.js';
import { isPortOpen } from '../system/ports.js';
import type { ProcessInfo } from '../system/process-info.js';
import { type TerminateOptions, type Termination, terminate } from './terminate.js';

/** How a `stop()` came to its end. */
export interface StopResult {
  /** 'killed': SIGKILL was needed. */
  readonly outcome: 'not-running' | 'stopped' | 'killed';
}

const log = debugLog('stop');

/** A socket can be there an instant longer than the process; a stranger's is not waited for any longer. */
const PORT_WAIT_MS = 300;

/** How long a holder that is not ours to signal is waited for. A starter is waited for as long as a stop may take. */
const UNTOUCHABLE_WAIT_MS = 5_000;

/** @throws StopTimeoutError | StateFileError | LockUnavailableError; the signal's reason when it is aborted */
export async function stop(spec: CompleteSpec, { signal }: { signal?: AbortSignal | undefined }): Promise<StopResult> {
  signal?.throwIfAborted();
  if (!mayExist(spec.lockFile) && !mayExist(spec.pidFile)) return { outcome: 'not-running' };
  const markFile = besideLockFile(spec, 'down');
  let mark: HeldMark | undefined;
  let markError: unknown;
  try {
    mark = await markDown(markFile);
  } catch (error) {
    markError = error;
  }
  try {
    const result = await bringDown(spec, { signal });
    log('%s: %s', spec.name, result.outcome);
    if (mark !== undefined) return result;
  } finally {
    mark?.release();
  }
  throw new StateFileError(
    `${spec.name} is stopped, but a supervisor may bring it back: cannot write "${markFile}": ${errorText(markError)}`,
    { path: markFile, cause: markError },
  );
}

/** End whatever holds the lock until it could be taken for an instant, and remove the record. Sets no mark. */
export async function bringDown(
  spec: CompleteSpec,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<StopResult> {
  const deadline = Deadline.after(stopLimitMs(spec));
  let untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
  const pace = new Pace({ maxMs: 25 });
  let result: StopResult = { outcome: 'not-running' };
  for (;;) {
    signal?.throwIfAborted();
    const lock = tryAcquireLock(spec.lockFile);
    if (lock !== undefined) {
      try {
        result = combine(result, await endLostProcess(spec, { signal, limit: deadline }));
        removeRecord(spec.pidFile);
      } finally {
        lock.handOver();
      }
      if (result.outcome !== 'not-running') await waitForFreePort(spec, deadline);
      return result;
    }
    const isLast = deadline.isOver;
    const termination = await endHolder(spec, { signal, limit: deadline });
    result = combine(result, termination);
    // On a machine that is too busy time can be over before it was seen that everybody is gone: one more look.
    if (termination.outcome !== 'nothing' && !isLast) {
      untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
      continue;
    }
    const holder = identify(spec);
    if (holder.kind === 'starting') {
      result = combine(result, { outcome: 'stopped', survivors: [] });
      untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
    }
    if (deadline.isOver || untouched.isOver) throw stopTimeoutError(spec, holders(holder));
    await pace.wait({ deadline, signal });
  }
}

type Limits = Pick<TerminateOptions, 'limit' | 'signal' | 'guard'>;

/** End our process, its heirs, or its leftovers, if they are what holds the lock. @throws StopTimeoutError when they stay */
export async function endHolder(spec: CompleteSpec, limits: Limits): Promise<Termination> {
  return await end(spec, () => endable(identify(spec, { heirs: true })), limits);
}

/** End the leftovers of a dead process, if they are what holds the lock. @throws StopTimeoutError when they stay */
export async function endLeftovers(spec: CompleteSpec, limits: Limits): Promise<Termination> {
  const find = () => {
    const holder = identify(spec);
    return holder.kind === 'leftovers' ? holder.members : [];
  };
  return await end(spec, find, limits);
}

/** End a process that lost its lock file. Only under the lock, so that nobody starts another one meanwhile. */
export async function endLostProcess(spec: CompleteSpec, limits: Limits): Promise<Termination> {
  return await end(spec, () => [lostProcess(spec)].filter((process) => process !== undefined), limits);
}

async function end(spec: CompleteSpec, find: () => readonly ProcessInfo[], limits: Limits): Promise<Termination> {
  const { stopSignal, stopTimeoutMs } = spec;
  const termination = await terminate(find, { stopSignal, graceMs: stopTimeoutMs, ...limits });
  if (termination.survivors.length > 0) throw stopTimeoutError(spec, termination.survivors);
  return termination;
}

function endable(holder: Holder): readonly ProcessInfo[] {
  if (holder.kind === 'process') return [holder.process, ...(holder.heirs ?? [])];
  return holder.kind === 'leftovers' ? holder.members : [];
}

/** Whom a StopTimeoutError names. */
export function holders(holder: Holder): number[] {
  if (holder.kind === 'starting') return holder.starters.map(({ pid }) => pid);
  return [...(holder.kind === 'strangers' ? holder.holders : endable(holder))].map(({ pid }) => pid);
}

function combine(result: StopResult, { outcome }: Termination): StopResult {
  if (outcome === 'nothing' || result.outcome === 'killed') return result;
  return { outcome };
}

async function waitForFreePort({ host, port, checkTimeoutMs }: CompleteSpec, deadline: Deadline): Promise<void> {
  if (port === undefined) return;
  const grace = Deadline.after(Math.min(PORT_WAIT_MS, deadline.remainingMs));
  const pace = new Pace();
  const isOpen = () => isPortOpen({ host, port }, { timeoutMs: Math.min(checkTimeoutMs, grace.remainingMs) });
  while (!grace.isOver && (await isOpen())) await pace.wait();
}

/** False only when it is certain that there is no such file. */
function mayExist(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch (error) {
    return errorCode(error) !== 'ENOENT';
  }
}

/**
 * A supervisor's first half of a restart, of a process that is sick. It undoes nobody's stop: with any mark there it does nothing.
 * @param pid the sick one, undefined for leftovers; another one that is there now is left alone
 * @returns whether it was ended
 */
export async function endForRestart(spec: CompleteSpec, pid: number | undefined): Promise<boolean> {
  const holder = identify(spec);
  const isSickOne = holder.kind === 'process' ? holder.process.pid === pid : holder.kind === 'leftovers';
  if (!isSickOne) return false;
  const markFile = besideLockFile(spec, 'down');
  const hasEnded = await endUnder(spec, markRestart(markFile));
  // Left there while this supervisor waits for its turn, the mark would be a restart that died to any other one.
  if (hasEnded) clearRestartMark(spec, markFile);
  return hasEnded;
}

/** The rest of the first half of a restart that died. @returns whether there was one */
export async function finishStop(spec: CompleteSpec): Promise<boolean> {
  return await endUnder(spec, await joinMark(besideLockFile(spec, 'down')));
}

/** A supervisor gives up. What has lost its lock file is ended, unless somebody else has the lock now. */
export async function endLost(spec: CompleteSpec): Promise<void> {
  const lock = tryAcquireLock(spec.lockFile);
  if (lock === undefined) return;
  try {
    await endLostProcess(spec, { limit: Deadline.after(stopLimitMs(spec)) });
  } finally {
    lock.handOver();
  }
}

/** Only under the process's lock; whoever has that instead clears the mark itself. */
function clearRestartMark(spec: CompleteSpec, markFile: string): void {
  const lock = tryAcquireLock(spec.lockFile);
  if (lock === undefined) return;
  try {
    clearMark(markFile, undefined);
  } finally {
    lock.handOver();
  }
}

async function endUnder(spec: CompleteSpec, mark: HeldMark | undefined): Promise<boolean> {
  if (mark === undefined) return false;
  try {
    await bringDown(spec, {});
  } finally {
    mark.release();
  }
  return true;
}
