/** Ask the layers, in the order lock → PID file → process → identity → port → health. Writes nothing and holds nothing. */

import { isLocked } from '../lock/file-lock.js';
import { journalOf } from '../state/journal.js';
import type { JournalState } from '../state/journal-state.js';
import { isNamedIn } from '../state/pid-file.js';
import { addressOf, type CompleteSpec } from '../state/process-spec.js';
import { Pace } from '../support/deadline.js';
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
  // A check that was aborted has failed, which says nothing.
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
    if (holder.kind !== 'nobody' || look === LOOKS) return await reportHeld(spec, holder, { signal });
    await pace.wait({ signal });
  }
}

function reportFree(spec: CompleteSpec): Status {
  const lost = lostProcess(spec);
  if (lost === undefined) return report(spec, 'stopped', undefined, { lock: false });
  const pidFile = isNamedIn(spec.pidFile, lost);
  return report(spec, 'unhealthy', lost, { lock: false, pidFile, process: true, identity: true });
}

async function reportHeld(spec: CompleteSpec, holder: Holder, options: CheckOptions): Promise<Status> {
  const state = journalOf(spec).readIfReadable();
  switch (holder.kind) {
    case 'process':
      return await reportProcess(spec, holder.process, state, options);
    case 'leftovers':
      return (await reportAdoptable(spec, holder.candidates, state, options)) ?? reportLeftovers(spec, state);
    case 'strangers':
      return report(spec, 'unknown', undefined, { lock: true, pidFile: false, process: true, identity: false });
    case 'starting':
    case 'nobody': {
      const isStopping = state.isPending && holder.kind === 'starting';
      const now = isStopping ? 'stopping' : isBeginning(state, spec) ? 'starting' : 'unknown';
      return report(spec, now, undefined, { lock: true, pidFile: false, process: false });
    }
  }
}

async function reportProcess(
  spec: CompleteSpec,
  process: ProcessInfo,
  state: JournalState,
  options: CheckOptions,
): Promise<Status> {
  const layers = { lock: true, pidFile: isNamedIn(spec.pidFile, process), process: !process.isSuspended };
  if (process.isSuspended) return report(spec, state.isPending ? 'stopping' : 'unhealthy', process, layers);
  const checks = await runChecks(spec, instanceOf(spec, process, { reused: true }), options);
  const isReady = arePassed(checks) && (hasChecks(spec) || isSettled(process));
  const failing = isStarting(state, process, spec) ? 'starting' : 'unhealthy';
  return report(spec, state.isPending ? 'stopping' : isReady ? 'running' : failing, process, {
    ...layers,
    identity: true,
    ...checks,
  });
}

/** The recorded process is dead, and one that has its lock passes all checks: it is the process. */
async function reportAdoptable(
  spec: CompleteSpec,
  candidates: readonly ProcessInfo[],
  state: JournalState,
  options: CheckOptions,
): Promise<Status | undefined> {
  const found = await findHealthy(spec, candidates, options);
  if (found === undefined) return undefined;
  const layers = { lock: true, pidFile: false, process: true, identity: true, ...found.checks };
  return report(spec, state.isPending ? 'stopping' : 'running', found.process, layers);
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

function reportLeftovers(spec: CompleteSpec, state: JournalState): Status {
  return report(spec, state.isPending ? 'stopping' : 'unhealthy', undefined, {
    lock: true,
    pidFile: true,
    process: false,
  });
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

/** A start has begun, and there is no process to ask yet. */
function isBeginning(state: JournalState, { startTimeoutMs }: CompleteSpec): boolean {
  const start = state.last('start');
  return start !== undefined && !state.isHandedOver && Date.now() - Date.parse(start.at) < startTimeoutMs;
}

/** Still inside its start time: it was never ready, and is younger than that. */
function isStarting(state: JournalState, process: ProcessInfo, { startTimeoutMs }: CompleteSpec): boolean {
  const wasReady = state.isReady && state.spawned?.pid === process.pid;
  return !wasReady && processTable().age(process) < startTimeoutMs;
}
