/** Ask the layers, in the order lock → PID file → process → identity → port → health. Writes nothing and holds nothing. */

import { isLocked } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import type { JournalState } from '../state/journal-state.js';
import { isNamedIn } from '../state/pid-file.js';
import { addressOf, type CompleteSpec } from '../state/process-spec.js';
import { Pace, throwIfAborted } from '../support/deadline.js';
import type { ProcessState, Status } from '../support/status-report.js';
import { livingSpawned, type ProcessInfo, processTable, usage } from '../system/process-table.js';
import { arePassed, findHealthy, hasChecks, readinessOf, runChecks, startedAt } from './checks.js';
import { type Holder, identify, isSeenHeld, leftBehind, lineAgeMs } from './holder.js';
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
  throwIfAborted(options.signal);
  const report = spec.lifetime === 'shared' ? { ...asked, users: countUsers(spec) } : asked;
  if (options.usage !== true || report.pid === undefined) return report;
  const used = await usage(report.pid);
  return used === undefined ? report : { ...report, usage: used };
}

async function ask(spec: CompleteSpec, signal: AbortSignal | undefined): Promise<Status> {
  const pace = new Pace({ firstMs: 5 });
  for (let look = 1; ; look += 1) {
    if (!isSeenHeld(spec) && !isLocked(spec.lockFile)) return reportFree(spec);
    const holder = identify(spec);
    if (holder.kind !== 'nobody' || look === LOOKS) return await reportHeld(spec, holder, signal);
    await pace.wait({ signal });
  }
}

function reportFree(spec: CompleteSpec): Status {
  const [left] = leftBehind(spec);
  if (left === undefined) return report(spec, 'stopped', undefined, { lock: false });
  const known = [journalOf(spec).readIfReadable().spawned, livingSpawned(spec.lockFile)];
  const isSurvivor = known.every((process) => process?.pid !== left.pid);
  if (isSurvivor) return report(spec, 'unhealthy', undefined, { lock: false, process: false });
  const pidFile = isNamedIn(spec.pidFile, left);
  return report(spec, 'unhealthy', left, { lock: false, pidFile, process: true, identity: true });
}

async function reportHeld(spec: CompleteSpec, holder: Holder, signal: AbortSignal | undefined): Promise<Status> {
  const state = journalOf(spec).readIfReadable();
  const unlessPending = (found: ProcessState) => (state.isPending ? 'stopping' : found);
  switch (holder.kind) {
    case 'process': {
      const { process } = holder;
      const pidFile = isNamedIn(spec.pidFile, process);
      if (process.isSuspended) return report(spec, unlessPending('unhealthy'), process, { pidFile, process: false });
      const checks = await runChecks(spec, process, { signal });
      const wasReady = state.isReady && state.spawned?.pid === process.pid;
      const isYoung = !wasReady && processTable().age(process) < spec.startTimeoutMs;
      const isPassed = (wasReady && !hasChecks(spec)) || arePassed(spec, process, checks);
      const found = isPassed ? 'running' : isYoung ? 'starting' : 'unhealthy';
      return report(spec, unlessPending(found), process, { pidFile, process: true, identity: true, ...checks });
    }
    case 'leftovers': {
      const { process, checks } = (await findHealthy(spec, holder.candidates, signal)) ?? {};
      if (process === undefined) {
        return report(spec, unlessPending('unhealthy'), undefined, { pidFile: true, process: false });
      }
      const layers = { pidFile: false, process: true, identity: true, ...checks };
      return report(spec, unlessPending('running'), process, layers);
    }
    case 'strangers':
      return report(spec, 'unknown', undefined, { pidFile: false, process: true, identity: false });
    case 'starting':
    case 'nobody': {
      const found = isBeginning(state, holder, spec) ? 'starting' : 'unknown';
      const reported = holder.kind === 'starting' ? unlessPending(found) : found;
      return report(spec, reported, undefined, { pidFile: false, process: false });
    }
  }
}

type Layers = Partial<Status['checks']>;

function report(spec: CompleteSpec, state: ProcessState, process: ProcessInfo | undefined, layers: Layers): Status {
  const { lock = true, pidFile, process: processLayer, identity, port, health } = layers;
  return {
    state,
    pid: process?.pid,
    startedAt: process && startedAt(spec, process),
    uptimeMs: process && Math.round(processTable().age(process)),
    address: addressOf({ host: spec.host, port: process === undefined ? spec.port : readinessOf(spec).port }),
    checks: { lock, pidFile, process: processLayer, identity, port, health },
  };
}

/** The last start is under way, and has the lock, as far as that can be seen. The time of its prepare() is not start time. */
export function isBeginning(state: JournalState, { members }: Holder, { startTimeoutMs }: CompleteSpec): boolean {
  const { begun, isHandedOver, preparesForMs = startTimeoutMs } = state;
  if (begun === undefined || isHandedOver) return false;
  const isStarter = members.length === 0 || members.some(({ pid }) => pid === begun.by);
  return isStarter && lineAgeMs(begun) < preparesForMs;
}
