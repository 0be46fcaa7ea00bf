/** Ask the layers, in the order lock → PID file → process → identity → port → health. Writes nothing and holds nothing. */

import { isLocked } from '../lock/questions.js';
import { differencesOf } from '../state/drift.js';
import { journalOf } from '../state/journal.js';
import { type JournalLine, type JournalState, supervisorLines } from '../state/journal-state.js';
import { isNamedIn } from '../state/pid-file.js';
import { addressOf, type CompleteSpec } from '../state/process-spec.js';
import { abortAfter, linkSignals, Pace, sleep, throwIfAborted, whenAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, PredecessorError, spawnError } from '../support/errors.js';
import { newAbort } from '../support/globals.js';
import { check, isPid, optional } from '../support/options.js';
import type { ProcessState, Status } from '../support/status-report.js';
import { isAlive, livingSpawned, type ProcessInfo, processTable, usage } from '../system/process-table.js';
import { arePassed, findHealthy, hasChecks, readinessOf, runChecks, startedAt } from './checks.js';
import { type Holder, identify, isSeenHeld, leftBehind, lineAgeMs } from './holder.js';
import { countUsers } from './watcher.js';

const log = debugLog('status');

/** A lock that is held by nobody who can be seen: its holder is just going, or another user's. Some 10 ms for the former. */
const LOOKS = 3;

/** @throws LockUnavailableError when it cannot be told whether the lock is held */
export async function status(spec: CompleteSpec, options: { usage?: boolean } = {}): Promise<Status> {
  const asked = await checkStatus(spec);
  const used = options.usage && asked.pid !== undefined ? await usage(asked.pid) : undefined;
  const users = spec.lifetime === 'shared' && { users: countUsers(spec) };
  return { ...asked, ...told(spec, asked), ...users, ...(used && { usage: used }) };
}

/** For a supervisor: without what only people ask for. @throws as status(), and the signal's reason when it is aborted */
export async function checkStatus(spec: CompleteSpec, signal?: AbortSignal): Promise<Status> {
  const report = await ask(spec, signal);
  // A check that was aborted has failed, which says nothing.
  throwIfAborted(signal);
  return report;
}

/** What the journal knows besides. */
function told(spec: CompleteSpec, { pid, state }: Status): Partial<Status> {
  const journal = journalOf(spec).readIfReadable();
  const exit = journal.last('exit');
  // Of one that ended unseen the exit of one before it says nothing.
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

/** The last that began, of those that live; else one that gave up, and nobody has started or stopped it since. */
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
    if (!isSeenHeld(spec) && !isLocked(spec.lockFile)) return await reportFree(spec, signal);
    const holder = identify(spec);
    if (holder.kind !== 'nobody' || look === LOOKS) return await reportHeld(spec, holder, signal);
    await pace.wait({ signal });
  }
}

async function reportFree(spec: CompleteSpec, signal: AbortSignal | undefined): Promise<Status> {
  const [left] = leftBehind(spec);
  if (left === undefined) return await reportNobody(spec, signal);
  const known = [journalOf(spec).readIfReadable().spawned, livingSpawned(spec.lockFile)];
  const isSurvivor = known.every((info) => info?.pid !== left.pid);
  if (isSurvivor) return report(spec, 'unhealthy', undefined, { lock: false, process: false });
  const pidFile = isNamedIn(spec.pidFile, left);
  return report(spec, 'unhealthy', left, { lock: false, pidFile, process: true, identity: true });
}

/** Nobody of ours is there. */
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

async function askPredecessor(
  { predecessor, checkTimeoutMs }: CompleteSpec,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  if (predecessor === undefined) return undefined;
  const limit = abortAfter(checkTimeoutMs, signal);
  try {
    const pid = await Promise.race([predecessor(), whenAborted(limit.signal)]);
    check('predecessor()', pid, optional(isPid), 'a PID or undefined');
    return pid;
  } finally {
    limit.clear();
  }
}

/** So often a start that waits for an answer sees whether it is still wanted: a stop() waits for it. */
const GUARD_MS = 100;

/** Last of all before the process is there. @throws PredecessorError; SpawnError when it cannot be told; the signal's reason */
export async function refusePredecessor(
  spec: CompleteSpec,
  { signal, guard }: { signal: AbortSignal | undefined; guard: () => void },
): Promise<void> {
  const over = newAbort();
  const linked = linkSignals(signal, over.signal);
  const watch = async (): Promise<never> => {
    for (;;) {
      guard();
      await sleep(GUARD_MS, over.signal);
    }
  };
  const asked = Promise.race([askPredecessor(spec, linked.signal), watch()]).finally(() => {
    over.abort();
    linked.clear();
  });
  const pid = await asked.catch((error: unknown) => {
    // A stop(), or the signal, is the reason then.
    guard();
    throw spawnError(spec, `it cannot be told whether an older owner lives: ${errorText(error)}`, error);
  });
  if (pid === undefined) return;
  const message = `Cannot start ${spec.name}: PID ${pid} owns it under an older scheme; stop it with the tool that started it, or by "kill ${pid}"`;
  throw new PredecessorError(message, { pid });
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
      // What has become the process says itself when it is ready.
      const canPass = wasReady || !(isNamed && state.hasBecome);
      const isPassed = canPass && ((wasReady && !hasChecks(spec)) || arePassed(spec, info, checks));
      const found = isPassed ? 'running' : isYoung ? 'starting' : 'unhealthy';
      return report(spec, unlessPending(found), info, { pidFile, process: true, identity: true, ...checks });
    }
    case 'leftovers': {
      const { process: info, checks } = (await findHealthy(spec, holder.candidates, signal)) ?? {};
      if (info === undefined) {
        return report(spec, unlessPending('unhealthy'), undefined, { pidFile: true, process: false });
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
  return {
    state,
    pid: info?.pid,
    startedAt: info && startedAt(spec, info),
    uptimeMs: info && Math.round(processTable().age(info)),
    address: addressOf({ host: spec.host, port: info === undefined ? spec.port : readinessOf(spec).port }),
    checks: { lock, pidFile, process: processLayer, identity, port, health },
    differences: [],
    restarts: journalOf(spec).readIfReadable().restarts,
  };
}

/** The last start is under way, and has the lock, as far as that can be seen. The time of its prepare() is not start time. */
export function isBeginning(state: JournalState, { members }: Holder, { startTimeoutMs }: CompleteSpec): boolean {
  const { begun, isHandedOver, preparesForMs = startTimeoutMs } = state;
  if (begun === undefined || isHandedOver) return false;
  const isStarter = members.length === 0 || members.some(({ pid }) => pid === begun.by);
  return isStarter && lineAgeMs(begun) < preparesForMs;
}
