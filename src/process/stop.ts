/**
 * Bring the process down, from whichever process: mark it down, end who holds the lock, take the lock for an instant.
 * Whoever holds the lock meanwhile is ended as well: what a stop() leaves behind is a free lock and a mark.
 */
import { lstatSync } from 'node:fs';
import { acquireLock, type FileLock } from '../lock/file-lock.js';
import { Deadline, Pace } from '../shared/deadline.js';
import { errorCode, errorText, LockHeldError, StateFileError, StopTimeoutError } from '../shared/errors.js';
import { type HeldMark, markDown } from './down-mark.js';
import { type Holder, identify, lostProcess } from './identity.js';
import { isPortOpen } from './port.js';
import { removeRecord } from './process-record.js';
import { besideLockFile, type CompleteSpec } from './process-spec.js';
import type { ProcessInfo } from './process-table.js';
import { KILL_WAIT_MS, type Termination, terminate } from './terminate.js';

export interface StopResult {
  /** 'killed': SIGKILL was needed. */
  readonly outcome: 'not-running' | 'stopped' | 'killed';
}

/** A socket can be there an instant longer than the process; a stranger's is not waited for any longer. */
const PORT_WAIT_MS = 300;

/** How long a holder that is not ours to signal is waited for: a starter sees the mark and goes within this time. */
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
    if (mark !== undefined) return result;
  } finally {
    mark?.release();
  }
  throw new StateFileError(
    `${spec.name} is stopped, but a supervisor may bring it back: cannot write "${markFile}": ${errorText(markError)}`,
    { path: markFile, cause: markError },
  );
}

/** The longest that a stop may take, and so the longest that one is waited for. */
export function stopLimitMs({ stopTimeoutMs }: Pick<CompleteSpec, 'stopTimeoutMs'>): number {
  return 2 * stopTimeoutMs + KILL_WAIT_MS;
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
    const lock = tryLock(spec);
    if (lock !== undefined) {
      try {
        result = combine(result, await endLostProcess(spec, { signal }));
        removeRecord(spec.pidFile);
      } finally {
        lock.handOver();
      }
      if (result.outcome !== 'not-running') await waitForFreePort(spec, deadline);
      return result;
    }
    const termination = await endHolder(spec, { signal, deadline });
    result = combine(result, termination);
    if (termination.outcome !== 'nothing') untouched = Deadline.after(UNTOUCHABLE_WAIT_MS);
    else if (deadline.isOver || untouched.isOver) throw stopTimeoutError(spec, holders(identify(spec)));
    else if (identify(spec).kind === 'starting') result = combine(result, { outcome: 'stopped', survivors: [] });
    await pace.wait({ deadline, signal });
  }
}

/** End our process, its heirs, or its leftovers, if they are what holds the lock. @throws StopTimeoutError when they stay */
export async function endHolder(
  spec: CompleteSpec,
  { signal, deadline }: { signal?: AbortSignal | undefined; deadline: Deadline },
): Promise<Termination> {
  const { stopSignal, stopTimeoutMs } = spec;
  const graceMs = Math.min(stopTimeoutMs, deadline.remainingMs);
  const find = () => endable(identify(spec, { heirs: true }));
  return unlessSurvived(spec, await terminate(find, { stopSignal, graceMs, signal }));
}

/** End a process that lost its lock file. Only under the lock, so that nobody starts another one meanwhile. */
export async function endLostProcess(
  spec: CompleteSpec,
  { signal }: { signal?: AbortSignal | undefined },
): Promise<Termination> {
  const find = () => [lostProcess(spec)].filter((process) => process !== undefined);
  const { stopSignal, stopTimeoutMs } = spec;
  return unlessSurvived(spec, await terminate(find, { stopSignal, graceMs: stopTimeoutMs, signal }));
}

/** The lock, or undefined when somebody holds it. @throws LockUnavailableError */
export function tryLock({ lockFile }: Pick<CompleteSpec, 'lockFile'>): FileLock | undefined {
  try {
    return acquireLock(lockFile);
  } catch (error) {
    if (error instanceof LockHeldError) return undefined;
    throw error;
  }
}

export function stopTimeoutError(
  { name, lockFile }: Pick<CompleteSpec, 'name' | 'lockFile'>,
  holders: readonly number[],
): StopTimeoutError {
  const who = holders.length === 0 ? 'a process that cannot be seen' : `PID ${holders.join(', ')}`;
  return new StopTimeoutError(`Cannot stop ${name}: lock "${lockFile}" is still held by ${who}`, { holders });
}

function unlessSurvived(spec: CompleteSpec, termination: Termination): Termination {
  if (termination.survivors.length > 0) throw stopTimeoutError(spec, termination.survivors);
  return termination;
}

function endable(holder: Holder): readonly ProcessInfo[] {
  if (holder.kind === 'process') return [holder.process, ...(holder.heirs ?? [])];
  return holder.kind === 'leftovers' ? holder.members : [];
}

function holders(holder: Holder): number[] {
  const found = holder.kind === 'strangers' ? holder.holders : holder.kind === 'starting' ? holder.starters : [];
  return found.map(({ pid }) => pid);
}

function combine(result: StopResult, { outcome }: Termination): StopResult {
  if (outcome === 'nothing' || result.outcome === 'killed') return result;
  return { outcome };
}

async function waitForFreePort({ host, port, checkTimeoutMs }: CompleteSpec, deadline: Deadline): Promise<void> {
  if (port === undefined) return;
  const grace = Deadline.after(Math.min(PORT_WAIT_MS, deadline.remainingMs));
  const pace = new Pace();
  while (!grace.isOver && (await isPortOpen({ host, port }, checkTimeoutMs))) await pace.wait();
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
