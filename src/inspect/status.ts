/** Ask the layers, in the order lock → PID file → process → identity → port → health. Writes nothing and holds nothing. */

import { statSync } from 'node:fs';
import { isLocked } from '../lock/file-lock.js';
import { readMark } from '../state/mark-file.js';
import { addressOf, besideLockFile, type CompleteSpec } from '../state/process-spec.js';
import { Pace } from '../support/deadline.js';
import { errorText, LockUnavailableError } from '../support/errors.js';
import type { ProcessState, Status } from '../support/status-report.js';
import type { ProcessInfo } from '../system/process-info.js';
import { processTable, usage } from '../system/process-table.js';
import {
  arePassed,
  type CheckOptions,
  type CheckResult,
  hasChecks,
  instanceOf,
  isSettled,
  runChecks,
  startedAt,
} from './checks.js';
import { type Holder, identify, lostProcess } from './holder.js';
import { foreignListener } from './listener.js';
import { countUsers } from './watcher.js';

/** A lock that is held by nobody who can be seen: its holder is just going, or another user's. Some 10 ms for the former. */
const LOOKS = 3;

/** @throws LockUnavailableError when it cannot be told whether the lock is held; the signal's reason when it is aborted */
export async function status(
  spec: CompleteSpec,
  options: { usage?: boolean; signal?: AbortSignal } = {},
): Promise<Status> {
  const asked = await ask(spec, options.signal);
  // Checks that were ended by it say nothing.
  options.signal?.throwIfAborted();
  const report = spec.lifetime === 'shared' ? { ...asked, users: countUsers(spec) } : asked;
  if (options.usage !== true || report.pid === undefined) return report;
  const used = await usage(report.pid);
  return used === undefined ? report : { ...report, usage: used };
}

async function ask(spec: CompleteSpec, signal: AbortSignal | undefined): Promise<Status> {
  const pace = new Pace({ firstMs: 5 });
  for (let look = 1; ; look += 1) {
    if (!isLocked(spec.lockFile)) return reportFree(spec);
    const holder = identify(spec);
    if (holder.kind !== 'nobody' || look === LOOKS) return await reportHeld(spec, holder, signal);
    await pace.wait({ signal });
  }
}

function reportFree(spec: CompleteSpec): Status {
  const lost = lostProcess(spec);
  if (lost === undefined) return report(spec, 'stopped', undefined, { lock: false });
  return report(spec, 'unhealthy', lost, { lock: false, pidFile: true, process: true, identity: true });
}

async function reportHeld(spec: CompleteSpec, holder: Holder, signal: AbortSignal | undefined): Promise<Status> {
  const isMarked = hasMark(spec);
  switch (holder.kind) {
    case 'process':
      return await reportProcess(spec, holder, isMarked, signal);
    case 'leftovers':
      return (await reportAdoptable(spec, holder.candidates, isMarked, signal)) ?? reportLeftovers(spec, isMarked);
    case 'strangers':
      return report(spec, 'unknown', undefined, { lock: true, pidFile: false, process: true, identity: false });
    case 'starting':
    case 'nobody': {
      const state =
        isMarked && holder.kind === 'starting' ? 'stopping' : wasStartedLately(spec) ? 'starting' : 'unknown';
      return report(spec, state, undefined, { lock: true, pidFile: false, process: false });
    }
  }
}

async function reportProcess(
  spec: CompleteSpec,
  { process, isRecorded }: Extract<Holder, { kind: 'process' }>,
  isMarked: boolean,
  signal: AbortSignal | undefined,
): Promise<Status> {
  const layers = { lock: true, pidFile: isRecorded, process: !process.isSuspended };
  if (process.isSuspended) return report(spec, isMarked ? 'stopping' : 'unhealthy', process, layers);
  const checks = await runChecks(spec, instanceOf(spec, process, { reused: true }), { signal });
  const isYoung = processTable().age(process) < spec.startTimeoutMs;
  const isReady = arePassed(checks) && (hasChecks(spec) || isSettled(process));
  const state = isMarked ? 'stopping' : isReady ? 'running' : isYoung ? 'starting' : 'unhealthy';
  return report(spec, state, process, { ...layers, identity: true, ...checks });
}

/** The recorded process is dead, and one that has its lock passes all checks: it is the process. */
async function reportAdoptable(
  spec: CompleteSpec,
  candidates: readonly ProcessInfo[],
  isMarked: boolean,
  signal: AbortSignal | undefined,
): Promise<Status | undefined> {
  const found = await findHealthy(spec, candidates, { signal });
  if (found === undefined) return undefined;
  const layers = { lock: true, pidFile: false, process: true, identity: true, ...found.checks };
  return report(spec, isMarked ? 'stopping' : 'running', found.process, layers);
}

/** The first that passes all checks; nobody when nothing is configured to be checked. */
export async function findHealthy(
  spec: CompleteSpec,
  candidates: readonly ProcessInfo[],
  options: CheckOptions = {},
): Promise<{ process: ProcessInfo; checks: CheckResult } | undefined> {
  if (!hasChecks(spec)) return undefined;
  for (const process of candidates) {
    const checks = await runChecks(spec, instanceOf(spec, process, { reused: true }), options);
    if (arePassed(checks) && foreignListener(spec, process) === undefined) return { process, checks };
  }
  return undefined;
}

function reportLeftovers(spec: CompleteSpec, isMarked: boolean): Status {
  return report(spec, isMarked ? 'stopping' : 'unhealthy', undefined, { lock: true, pidFile: true, process: false });
}

function report(
  spec: CompleteSpec,
  state: ProcessState,
  process: ProcessInfo | undefined,
  layers: Partial<Status['checks']> & { lock: boolean },
): Status {
  const { lock, pidFile, process: processLayer, identity, port, health } = layers;
  return {
    state,
    pid: process?.pid,
    startedAt: process === undefined ? undefined : startedAt(spec, process),
    uptimeMs: process === undefined ? undefined : Math.round(processTable().age(process)),
    address: addressOf(spec),
    checks: { lock, pidFile, process: processLayer, identity, port, health },
  };
}

/** Set under the lock by each start: the time from which 'starting' counts while there is no process to ask. */
function wasStartedLately({ lockFile, startTimeoutMs }: CompleteSpec): boolean {
  const file = statSync(lockFile, { throwIfNoEntry: false });
  return file !== undefined && Date.now() - file.mtimeMs < startTimeoutMs;
}

function hasMark(spec: CompleteSpec): boolean {
  const path = besideLockFile(spec, 'down');
  try {
    return readMark(path) !== undefined;
  } catch (error) {
    throw new LockUnavailableError(`Cannot examine "${path}": ${errorText(error)}`, { path, cause: error });
  }
}
