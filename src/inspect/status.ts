/** Asks the layers in the order lock → PID file → process → identity → port → health. Writes no file, keeps no lock. */

import { isLocked } from '../lock/questions.js';
import { differencesOf } from '../state/drift.js';
import { journalOf } from '../state/journal.js';
import { type JournalLine, type JournalState, lineAgeMs, startedAt, supervisorLines } from '../state/journal-state.js';
import { isNamedIn } from '../state/pid-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { abortAfter, Pace, throwIfAborted, whenAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { check, isPid, optional } from '../support/options.js';
import type { ProcessState, Status } from '../support/status-report.js';
import { addressOf } from '../system/ports.js';
import { hasProc, isAlive, livingSpawned, type ProcessInfo, processTable, usage } from '../system/process-table.js';
import { arePassed, findHealthy, hasChecks, readinessOf, runChecks } from './checks.js';
import { canBeAtWork, type Holder, identify, isSeenHeld, leftBehind, lockCarriers, managedCarriers } from './holder.js';
import { countUsers } from './watcher.js';

const log = debugLog('status');

/** How often an unseen holder is looked for: an exiting one is gone within some 10 ms, another user's is never seen. */
const LOOKS = 3;

/** @throws LockUnavailableError when it cannot be told whether the lock is held */
export async function status(spec: CompleteSpec, options: { usage?: boolean } = {}): Promise<Status> {
  const asked = await checkStatus(spec);
  const used = options.usage && asked.pid !== undefined ? await usage(asked.pid) : undefined;
  const users = spec.lifetime === 'shared' && { users: countUsers(spec) };
  return { ...asked, ...told(spec, asked), ...users, ...(used && { usage: used }) };
}

/** The status for a supervisor, without what only people read. @throws as status(); the reason of an aborted signal */
export async function checkStatus(spec: CompleteSpec, signal?: AbortSignal): Promise<Status> {
  const report = await ask(spec, signal);
  // An aborted check counts as failed, which would prove nothing about the process.
  throwIfAborted(signal);
  return report;
}

/** The fields that the journal adds to a status. */
function told(spec: CompleteSpec, { pid, state }: Status): Partial<Status> {
  const journal = journalOf(spec).readIfReadable();
  const exit = journal.last('exit');
  // If nobody saw the last process exit, the last `exit` line is of an earlier process, and is left out.
  const isLast = pid !== undefined || journal.hasExited || journal.spawned === undefined;
  const supervisor = supervisorOf(spec, journal, state);
  return {
    differences: pid === undefined ? [] : differencesOf(spec, pid, journal),
    ...(exit && isLast && { lastExit: lastExitOf(exit) }),
    ...(supervisor && { supervisor }),
  };
}

function lastExitOf({ pid, exitCode, signal, at }: JournalLine): NonNullable<Status['lastExit']> {
  return { pid, exitCode, signal, at: new Date(at) } as NonNullable<Status['lastExit']>;
}

/** The living supervisor that began last. If none lives, one that gave up, unless start, stop or supervise followed. */
function supervisorOf(spec: CompleteSpec, journal: JournalState, found: ProcessState): Status['supervisor'] {
  if (journal.last('supervise') === undefined && journal.last('crash') === undefined) return undefined;
  const lines = supervisorLines(journalOf(spec).lines());
  const active = lines.findLast((line) => ['supervise', 'crash'].includes(line.event) && isAtWork(line));
  const isLater = ({ place }: JournalLine) =>
    (['start', 'stop', 'supervise'] as const).every((event) => place > (journal.last(event)?.place ?? -1));
  const line = active ?? lines.findLast((line) => line.event === 'give-up' && isLater(line));
  if (line === undefined) return undefined;
  const isUp = found === 'running' || found === 'unhealthy' || found === 'unknown';
  const isLeft = line.isForFailures === true && journal.isDone;
  const state = journal.isWanted && !isLeft ? (isUp ? 'watching' : 'restarting') : 'standby';
  const lastError = typeof line.error === 'string' && { lastError: line.error };
  return { pid: line.by, state: line === active ? state : 'gave-up', ...lastError };
}

function isAtWork({ by: pid, startKey, boot }: JournalLine): boolean {
  return typeof startKey === 'string' && boot === processTable().boot() && isAlive({ pid, startKey });
}

async function ask(spec: CompleteSpec, signal: AbortSignal | undefined): Promise<Status> {
  const pace = new Pace({ firstMs: 5 });
  for (let look = 1; ; look += 1) {
    if (!isSeenHeld(spec) && !isLocked(spec.lockFile)) {
      const left = leftBehind(spec);
      const staying = left.filter((it) => !it.isExiting);
      if (look === LOOKS || staying.length === left.length) return await reportFree(spec, staying[0], signal);
    } else {
      const holder = identify(spec);
      if (holder.kind !== 'nobody' || look === LOOKS) return await reportHeld(spec, holder, signal);
    }
    await pace.wait({ signal });
  }
}

async function reportFree(
  spec: CompleteSpec,
  left: ProcessInfo | undefined,
  signal: AbortSignal | undefined,
): Promise<Status> {
  if (left === undefined) return await reportNobody(spec, signal);
  const known = [journalOf(spec).readIfReadable().spawned, livingSpawned(spec.lockFile)];
  const isSurvivor = known.every((info) => info?.pid !== left.pid);
  if (isSurvivor) return report(spec, 'unhealthy', undefined, { lock: false, process: false });
  const pidFile = isNamedIn(spec.pidFile, left);
  return report(spec, 'unhealthy', left, { lock: false, pidFile, process: true, identity: true });
}

/** The status when the lock is free and nothing of ours is left: 'stopped', unless a predecessor lives. */
async function reportNobody(spec: CompleteSpec, signal: AbortSignal | undefined): Promise<Status> {
  try {
    const pid = await askPredecessor(spec, signal);
    if (pid === undefined) return report(spec, 'stopped', undefined, { lock: false });
    return { ...report(spec, 'unknown', undefined, { lock: false, process: true, identity: false }), pid };
  } catch (error) {
    log('it cannot be told whether %s has a predecessor: %s', spec.name, errorText(error));
    return report(spec, 'unknown', undefined, { lock: false });
  }
}

/** PID of a living owner under an older scheme, within checkTimeoutMs. @throws what predecessor() throws */
export async function askPredecessor(
  { predecessor, checkTimeoutMs }: CompleteSpec,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  if (predecessor === undefined) return undefined;
  const limit = abortAfter(checkTimeoutMs, signal);
  try {
    const pid = await Promise.race([predecessor(), whenAborted(limit.signal)]);
    check('predecessor()', pid, optional(isPid), 'a PID or undefined');
    // The lock file that an older scheme shares with ours names this very start.
    return pid === process.pid ? undefined : pid;
  } finally {
    limit.clear();
  }
}

async function reportHeld(spec: CompleteSpec, holder: Holder, signal: AbortSignal | undefined): Promise<Status> {
  const state = journalOf(spec).readIfReadable();
  const unlessPending = (found: ProcessState) => (state.isPending ? 'stopping' : found);
  switch (holder.kind) {
    case 'process': {
      const { process: info } = holder;
      const pidFile = isNamedIn(spec.pidFile, info);
      if (info.isSuspended) return report(spec, unlessPending('unhealthy'), info, { pidFile, process: false });
      const checks = await runChecks(spec, info, { signal });
      const isNamed = state.spawned?.pid === info.pid;
      const wasReady = state.isReady && isNamed;
      const isYoung = !wasReady && (processTable().age(info) < spec.startTimeoutMs || isBeginning(state, holder, spec));
      // A process that called become() says itself when it is ready.
      const canPass = wasReady || !(isNamed && state.hasBecome);
      const isPassed = canPass && ((wasReady && !hasChecks(spec)) || arePassed(spec, info, checks));
      const found = isPassed ? 'running' : isYoung ? 'starting' : 'unhealthy';
      return report(spec, unlessPending(found), info, { pidFile, process: true, identity: true, ...checks });
    }
    case 'leftovers': {
      const { process: info, checks } = (await findHealthy(spec, holder.candidates, signal)) ?? {};
      if (info === undefined) {
        const pidFile = state.spawned !== undefined && isNamedIn(spec.pidFile, state.spawned);
        return report(spec, unlessPending('unhealthy'), undefined, { pidFile, process: false });
      }
      const layers = { pidFile: false, process: true, identity: true, ...checks };
      return report(spec, unlessPending('running'), info, layers);
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

function report(spec: CompleteSpec, state: ProcessState, info: ProcessInfo | undefined, layers: Layers): Status {
  const { lock = true, pidFile, process: processLayer, identity, port, health } = layers;
  const journal = journalOf(spec).readIfReadable();
  return {
    state,
    pid: info?.pid,
    startedAt: info && startedAt(journal, info),
    uptimeMs: info && Math.round(processTable().age(info)),
    address: addressOf({ host: spec.host, port: info === undefined ? spec.port : readinessOf(spec, journal).port }),
    checks: { lock, pidFile, process: processLayer, identity, port, health },
    differences: [],
    restarts: journal.restarts,
  };
}

/** Is the last start at work, and one of the holders if any is seen? The time of its prepare() is not start time. */
export function isBeginning(state: JournalState, { members }: Holder, { startTimeoutMs }: CompleteSpec): boolean {
  const { begun, isHandedOver, preparesForMs = startTimeoutMs } = state;
  if (begun === undefined || isHandedOver) return false;
  const isStarter = members.length === 0 || members.some(({ pid }) => pid === begun.by);
  return isStarter && lineAgeMs(begun) < preparesForMs;
}

/** Has the last starter handed its process over, or died? Without a `start` line: does no starter carry the lock? */
export function isStarterThrough(spec: CompleteSpec, state: JournalState): boolean {
  const last = state.last('start');
  if (last === undefined) return starterAtWork(last, spec) === undefined;
  if (state.isHandedOver) return true;
  // A zombie counts as dead: its parent may never collect it. A worker thread that was terminated during its start
  // leaves its process alive, without the lock.
  const isStarterAlive = typeof last.startKey === 'string' && isAlive({ pid: last.by, startKey: last.startKey });
  return !isStarterAlive || starterAtWork(last, spec) === undefined;
}

/** The starter that wrote the `start` line, if it carries the lock. Without such a line: any starter that does. */
function starterAtWork(start: JournalLine | undefined, spec: CompleteSpec): ProcessInfo | undefined {
  if (typeof start?.fd !== 'number') return lockCarriers(spec).starters.find(({ pid }) => !start || pid === start.by);
  // One whose descriptors cannot be seen is at work for as long as a start can take.
  const isHolding = processTable().carries(start.by, start.fd, spec.lockFile) ?? canBeAtWork(start, spec);
  const found = isHolding ? processTable().lookUp(start.by) : undefined;
  return found?.startKey === start.startKey && !found?.isZombie ? found : undefined;
}

/**
 * As identify(), for a start that looks again and again. Until the last starter has spawned its process, that starter
 * alone stands for all members, and there is no walk through all descriptors.
 */
export function identifyOften(spec: CompleteSpec): Holder {
  const { starting } = journalOf(spec).readIfReadable();
  const starter = starting && hasProc() ? starterAtWork(starting, spec) : undefined;
  if (starter === undefined || managedCarriers(spec).length > 0) return identify(spec);
  return { kind: 'starting', members: [starter] };
}
