/** Wait until the process that was spawned is ready, has exited, is not wanted any more, or is out of time. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  ALIVE_MS,
  findListener,
  forgetReadyLine,
  hasChecks,
  isReady,
  isStillReady,
  obstacle,
  readinessOf,
} from '../inspect/checks.js';
import { identify, successor } from '../inspect/holder.js';
import { status } from '../inspect/status.js';
import { probeSharedLock, tryAcquireLock } from '../lock/file-lock.js';
import { type FileLock, LOCK_FD } from '../lock/held-lock.js';
import { sharedLockPids } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import { type OpenLog, readLogTail, reasonLines } from '../state/log-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { Deadline, linkSignals, Pace, poll } from '../support/deadline.js';
import {
  EarlyExitError,
  howEnded,
  LockDroppedError,
  LockUnavailableError,
  StartTimeoutError,
  textOfPids,
  UnhealthyError,
} from '../support/errors.js';
import { newAbort, now } from '../support/globals.js';
import type { Status } from '../support/status-report.js';
import { isUncollected } from '../system/own-children.js';
import {
  isAlive,
  lookAgainAside,
  lookOften,
  lookUpChild,
  type ProcessInfo,
  processTable,
} from '../system/process-table.js';
import { portInUseError } from './port-lock.js';
import type { SpawnedProcess } from './spawn.js';

export interface WaitOptions {
  deadline: Deadline;
  guard: () => void;
  signal: AbortSignal | undefined;
  /** Does the process have the lock, although its descriptors cannot be seen? Undefined: ask again. */
  askLock: () => Promise<boolean | undefined>;
  /** Called when the process has put itself into the background, with its successor. */
  onSuccessor: (info: ProcessInfo) => void;
}

/** A process closes its descriptors before it is seen to be dead: an instant, on a starved machine up to this long. */
const GOING_MS = 500;

/** One look can miss a successor whose parent forked and ended while the process table was read. */
const SUCCESSOR_LOOKS = 3;

/** A free lock can be acquired within this time, although rivals take it and give it back. */
const DROPPED_MS = 100;

/** How long the last check may take when the start time is over. */
export const LAST_LOOK_MS = 250;

/** How many lines of its log an error carries. */
const LOG_TAIL_LINES = 50;

/** @throws EarlyExitError | StartTimeoutError | PortInUseError | LockDroppedError; as `guard`; the signal's reason */
export async function waitUntilReady(
  spec: CompleteSpec,
  { child, process: spawned, output }: SpawnedProcess,
  { deadline, guard, signal, askLock, onSuccessor }: WaitOptions,
): Promise<ProcessInfo> {
  const exit = newAbort();
  child.once('exit', () => exit.abort());
  const signalOrExit = linkSignals(signal, exit.signal);
  const wake = () => (exit.signal.aborted ? signal : signalOrExit.signal);
  const checking = () => ({ reused: false, signal: wake(), limit: deadline });
  // So a server is seen to be ready a fortieth of its start time late on average.
  const pace = new Pace({ firstMs: 1, maxMs: 20, growth: 1.05 });
  let began = now();
  let info = spawned;
  try {
    for (;;) {
      guard();
      const current = await lookOften(info);
      info = current ?? (await findSuccessor());
      if (current === undefined) {
        onSuccessor(info);
        began = now();
      }
      // The age counts, by our own clock: the system can tell start times to the second only.
      const isOldEnough = now() - began >= ALIVE_MS;
      const isPassed = hasChecks(spec) ? await isReady(spec, info, checking()) : !info.isSuspended && isOldEnough;
      // Of a server that puts itself into the background the first child can still be about to exit when the second child
      // already accepts connections, so a successor must stay alive, too.
      const isReadyNow = isPassed && (isOldEnough || info.pid === spawned.pid);
      guard();
      const seen = isReadyNow ? await lookAgainAside(info) : undefined;
      if (seen !== undefined && !seen.isSuspended) {
        const { isOurs, stranger } = findListener(spec, info);
        const { port } = readinessOf(spec);
        if (stranger !== undefined && port !== undefined) throw portInUseError(spec.name, port, stranger);
        const isAnswering = isOurs || (await isStillReady(spec, info, checking()));
        const { carriesAside } = processTable();
        const carries = async () => (await carriesAside(info.pid, LOCK_FD, spec.lockFile)) ?? (await askLock());
        const isHolder = isAnswering ? await carries() : undefined;
        if (isHolder === true) return info;
        if (isHolder === false) {
          const isGone = await poll(() => !isAlive(info), { deadline: Deadline.after(GOING_MS) });
          if (!isGone) throw lockDroppedError(spec, info);
          continue;
        }
      }
      if (deadline.isOver) throw await startTimeoutError(spec, output);
      // An exit ends the wait. So does an abort, for which `guard` throws the reason.
      await pace.wait({ deadline, signal: wake() }).catch(() => undefined);
    }
  } catch (error) {
    forgetReadyLine(spec);
    throw error;
  } finally {
    signalOrExit.clear();
  }

  async function findSuccessor(): Promise<ProcessInfo> {
    if (isUncollected(child)) {
      lookUpChild(spawned.pid);
      // The exit is in the process table before its event comes. Until then only the child keeps this process alive.
      child.ref();
      await once(child, 'exit');
    }
    // The watcher of a tied or shared process could not guard a successor that leaves its group.
    if (child.exitCode !== 0 || spec.lifetime !== 'detached') throw earlyExitError(spec, child, output);
    const looks = new Pace({ firstMs: 10 });
    for (let look = 1; look <= SUCCESSOR_LOOKS; look += 1) {
      const next = successor(spec);
      if (next !== undefined) return next;
      await looks.wait({ deadline, signal });
    }
    throw earlyExitError(spec, child, output);
  }
}

/**
 * Asks flock(2) itself whether the process has the lock: closes our copy, then tries for DROPPED_MS to acquire it. If
 * that fails, the process has it. LOCK_EX on the journal is held meanwhile: a rival that wins the lock is refused
 * there, and gives it back.
 * @returns the lock when it was free; true when the process has it; undefined when a stop is at work on the journal
 */
export async function handOverAndAsk(spec: CompleteSpec, lock: FileLock): Promise<FileLock | true | undefined> {
  const release = journalOf(spec).tryHoldExclusive();
  if (release === undefined) return undefined;
  try {
    lock.handOver();
    return (await poll(() => tryAcquireLock(spec.lockFile), { deadline: Deadline.after(DROPPED_MS) })) ?? true;
  } finally {
    release();
  }
}

function earlyExitError(spec: CompleteSpec, { exitCode, signalCode }: ChildProcess, output: OpenLog): EarlyExitError {
  const { name, logFile } = spec;
  const lines = readLogTail(logFile, Number.POSITIVE_INFINITY, output);
  const reason = reasonLines(lines).map((line) => `\n    ${line}`);
  const where = `in its log "${logFile}"`;
  const last = reason.length === 0 ? `nothing ${where}` : `last ${where}:${reason.join('')}`;
  const message = `Cannot start ${name}: it ended ${howEnded(exitCode, signalCode)} before it was ready; ${last}`;
  return new EarlyExitError(message, { exitCode, signal: signalCode, logTail: lines.slice(-LOG_TAIL_LINES) });
}

async function startTimeoutError(spec: CompleteSpec, output: OpenLog): Promise<StartTimeoutError> {
  const { name, startTimeoutMs: timeoutMs, logFile } = spec;
  const status = await lastStatus(spec);
  const late = hasChecks(spec) ? 'it passed its checks too late' : `it had not been alive for ${ALIVE_MS} ms`;
  const { what = late, cause } = obstacle('it', spec, status) ?? {};
  const message = `Cannot start ${name}: not ready within ${timeoutMs} ms, ${what}; it was ended. See "${logFile}"`;
  const logTail = readLogTail(logFile, LOG_TAIL_LINES, output);
  return new StartTimeoutError(message, { timeoutMs, status, logTail, cause });
}

export function unhealthyError(spec: CompleteSpec, status: Status): UnhealthyError {
  const isUnknown = status.state === 'unknown';
  const holders = isUnknown ? identify(spec).members.map(({ pid }) => pid) : [];
  const who = holders.length === 0 ? '' : ` (PID ${holders.join(', ')})`;
  const unready = isUnknown ? `its holder${who} could not be identified; lockHolders() names it` : 'it is not ready';
  const { what = unready, cause } = obstacle(`PID ${status.pid}`, spec, status) ?? {};
  const message = `${spec.name} is already running (lock file held by another process) but ${what}`;
  return new UnhealthyError(message, { status, cause });
}

export async function lastStatus(spec: CompleteSpec): Promise<Status> {
  return await status({ ...spec, checkTimeoutMs: Math.min(spec.checkTimeoutMs, LAST_LOOK_MS) });
}

function lockDroppedError({ name }: CompleteSpec, { pid }: ProcessInfo): LockDroppedError {
  const message =
    `Cannot start ${name}: PID ${pid} closed descriptor ${LOCK_FD}, which carries its lock, so nothing would keep a second one ` +
    'from being started; it was ended. It must leave inherited descriptors open';
  return new LockDroppedError(message, { pid });
}

/** @throws LockUnavailableError when a lasting shared lock keeps everybody out; not when the lock was just freed */
export function refuseSharedLock({ name, lockFile: path }: CompleteSpec): void {
  const pids = sharedLockPids(path);
  if (pids.length === 0 && !probeSharedLock(path)) return;
  const message = `Cannot start ${name}: a shared lock is kept on "${path}" by ${textOfPids(pids)}`;
  throw new LockUnavailableError(message, { path });
}
