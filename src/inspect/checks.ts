/** Checks a process once: port, ready line and `isHealthy`, and whether a stranger listens on its port. */

import { inspect } from 'node:util';
import { LOCK_FD } from '../lock/held-lock.js';
import { journalOf } from '../state/journal.js';
import { startedAt } from '../state/journal-state.js';
import { type LineSearch, searchReadyLine } from '../state/log-file.js';
import type { CompleteSpec, Instance } from '../state/process-spec.js';
import {
  abortAfter,
  Deadline,
  type LinkedSignal,
  linkSignals,
  sleep,
  throwIfAborted,
  whenAborted,
} from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { isPort } from '../support/options.js';
import type { Status } from '../support/status-report.js';
import { addressOf, isPortOpen } from '../system/ports.js';
import { onceGone, type ProcessInfo, processTable } from '../system/process-table.js';

const log = debugLog('readiness');

/** Without a configured check, a process counts as ready once it has been alive for this long. */
export const ALIVE_MS = 100;

/** A program that looks for a free port has listened on it and gone within this time. */
const PASSER_BY_MS = 50;

type CheckResult = Pick<Status['checks'], 'port' | 'health'>;

interface CheckOptions {
  /** The `reused` of the instance that `isHealthy` gets. @default true */
  reused?: boolean;
  signal: AbortSignal | undefined;
  limit?: Deadline;
}

/** Unfinished searches, keyed by lock file and ready line: the next check reads on where the last one ended. */
const searches = new Map<string, LineSearch>();

/** Tells the port of the running process, and whether its ready line was seen (true when none is configured). */
export function readinessOf(
  spec: CompleteSpec,
  state = journalOf(spec).readIfReadable(),
): { isLineSeen: boolean; port: number | undefined } {
  const { lockFile, readyLine, port } = spec;
  const key = `${lockFile} ${readyLine}`;
  // A process that became ready keeps the port of its `ready` line, even if the spec names another one by now.
  if (state.isOfLastStart && state.isReady && state.isTrusted) {
    searches.delete(key);
    const told = state.last('ready')?.port;
    return { isLineSeen: true, port: isPort(told) ? told : undefined };
  }
  if (readyLine === undefined) return { isLineSeen: true, port };
  if (!state.isOfLastStart || state.spawned?.log === undefined) return { isLineSeen: false, port };
  const { pid, startKey, log: output } = state.spawned;
  const identity = `${pid} ${startKey}`;
  let search = searches.get(key);
  if (search?.process !== identity) search = { process: identity, position: output.offset, rest: Buffer.alloc(0) };
  searches.set(key, search);
  if (search.found === undefined) searchReadyLine(spec.logFile, output, search, readyLine);
  return { isLineSeen: search.found !== undefined, port: search.found?.port ?? port };
}

/** Drops the search of a failed start: nobody reads on from there. */
export function forgetReadyLine({ lockFile, readyLine }: CompleteSpec): void {
  searches.delete(`${lockFile} ${readyLine}`);
}

export function instanceOf(
  spec: CompleteSpec,
  info: ProcessInfo,
  { reused, differences = [] }: Pick<Instance, 'reused'> & Partial<Instance>,
): Instance {
  const state = journalOf(spec).readIfReadable();
  const address = addressOf({ host: spec.host, port: readinessOf(spec, state).port });
  return Object.freeze({ pid: info.pid, startedAt: startedAt(state, info), address, reused, differences });
}

export async function isReady(spec: CompleteSpec, info: ProcessInfo, options: CheckOptions): Promise<boolean> {
  return !info.isSuspended && arePassed(spec, info, await runChecks(spec, info, options));
}

export function hasChecks({ port, readyPort, readyLine, isHealthy }: CompleteSpec): boolean {
  return [port, readyPort, readyLine, isHealthy].some((check) => check !== undefined);
}

export function arePassed(spec: CompleteSpec, info: ProcessInfo, { port, health }: CheckResult): boolean {
  if (!hasChecks(spec)) return processTable().age(info) >= ALIVE_MS;
  return port !== false && health !== false;
}

export async function findHealthy(
  spec: CompleteSpec,
  candidates: readonly ProcessInfo[],
  signal: AbortSignal | undefined,
): Promise<{ process: ProcessInfo; checks: CheckResult } | undefined> {
  if (!hasChecks(spec)) return undefined;
  for (const info of candidates) {
    const checks = await runChecks(spec, info, { signal });
    if (arePassed(spec, info, checks) && (await isAnswering(spec, info, { signal }))) return { process: info, checks };
  }
  return undefined;
}

/**
 * Runs all checks once, within `checkTimeoutMs`. A missing ready line counts as a failed health check. An aborted
 * signal, and the end of the process, end the checks: what is unanswered then has failed.
 */
export async function runChecks(
  spec: CompleteSpec,
  info: ProcessInfo,
  { signal, ...options }: CheckOptions,
): Promise<CheckResult> {
  const over = linkSignals(signal);
  // The process can be stopped during a check: the caller must not wait for an answer that never comes.
  const endWatch = onceGone(info, () => over.abort(new Error('the process is gone')));
  try {
    return await runBoth(spec, info, { ...options, signal: over.signal });
  } finally {
    endWatch();
    over.clear();
  }
}

async function runBoth(
  spec: CompleteSpec,
  info: ProcessInfo,
  { reused = true, signal, limit }: CheckOptions,
): Promise<CheckResult> {
  const { host, readyPort, checkTimeoutMs } = spec;
  const { isLineSeen, port } = readinessOf(spec);
  const look = Deadline.after(Math.min(checkTimeoutMs, limit?.remainingMs ?? checkTimeoutMs));
  let isOpen: boolean | undefined;
  for (const each of [port, readyPort]) {
    if (each === undefined || isOpen === false) continue;
    isOpen = await isPortOpen({ host, port: each }, { timeoutMs: look.remainingMs, signal });
  }
  const { isHealthy } = spec;
  if (isOpen !== false && !isLineSeen) return { port: isOpen, health: false };
  if (isOpen === false || isHealthy === undefined) return { port: isOpen, health: undefined };
  const instance = instanceOf(spec, info, { reused });
  return {
    port: isOpen,
    health: await askHealth({ ...spec, isHealthy }, instance, abortAfter(look.remainingMs, signal)),
  };
}

/** Why each `isHealthy` function failed last, and for which process. */
const failures = new WeakMap<object, { pid: number; reason: unknown }>();

async function askHealth(
  { name, isHealthy }: Pick<CompleteSpec, 'name'> & Required<Pick<CompleteSpec, 'isHealthy'>>,
  instance: Instance,
  limit: LinkedSignal,
): Promise<boolean> {
  const { signal } = limit;
  // An `isHealthy` that ignores its signal must not hold up the caller.
  const aborted = whenAborted(signal);
  try {
    throwIfAborted(signal);
    const answer: unknown = await Promise.race([isHealthy(instance, signal), aborted]);
    if (answer !== true)
      throw new Error(`isHealthy gave ${inspect(answer)}${answer === false ? '' : ', and only true counts'}`);
    failures.delete(isHealthy);
    return true;
  } catch (reason) {
    log('%s is not healthy: %s', name, errorText(reason));
    // An aborted check has no reason of its own: the reason of the last one that was answered is kept.
    const isCutShort = signal.aborted && failures.get(isHealthy)?.pid === instance.pid;
    if (!isCutShort) failures.set(isHealthy, { pid: instance.pid, reason });
    return false;
  } finally {
    limit.clear();
  }
}

/**
 * Finds a stranger that listens on the port in place of our process: a visible process outside the family that is older
 * than ours, or runs under a lock of its own. Finding none proves nothing: under `docker run -p` a proxy of Docker
 * listens, which is younger than the client that we spawned. `isOurs`: there is no port, or the family is seen to
 * listen: false where the descriptors of our process cannot be read.
 */
export function findListener(spec: CompleteSpec, ours: ProcessInfo): { isOurs: boolean; stranger?: ProcessInfo } {
  const { port } = readinessOf(spec);
  if (port === undefined) return { isOurs: true };
  const table = processTable();
  const listeners = table.listeners(port, ours.pid);
  // When the descriptors of our process cannot be read, it may listen without being seen.
  if (table.hasDescriptor(ours.pid, LOCK_FD) === undefined) return { isOurs: false };
  if (listeners.some((info) => isFamily(info, ours))) return { isOurs: true };
  const isManagedElsewhere = ({ pid }: ProcessInfo) => table.lostLock(pid, LOCK_FD, spec.lockFile) !== undefined;
  const stranger = listeners.find((info) => table.age(info) > table.age(ours) || isManagedElsewhere(info));
  return { isOurs: false, ...(stranger && { stranger }) };
}

/** Asks again after PASSER_BY_MS: a process that has passed its checks while somebody else may have answered for it. */
export async function isStillReady(spec: CompleteSpec, info: ProcessInfo, options: CheckOptions): Promise<boolean> {
  await sleep(PASSER_BY_MS, options.signal).catch(() => undefined); // An abort fails the check below.
  return (await isReady(spec, info, options)) && findListener(spec, info).stranger === undefined;
}

/** Is it our process, and no other, that has just passed the checks? */
export async function isAnswering(spec: CompleteSpec, info: ProcessInfo, options: CheckOptions): Promise<boolean> {
  const { isOurs, stranger } = findListener(spec, info);
  return isOurs || (stranger === undefined && (await isStillReady(spec, info, options)));
}

/** Is it in the session of our process, or a descendant of it? A process with a lock of its own can be one, too. */
function isFamily(info: ProcessInfo, ours: ProcessInfo): boolean {
  if (info.pid === ours.pid || info.sessionId === ours.sessionId) return true;
  const parent = info.pid > 1 ? processTable().lookUp(info.parentPid) : undefined;
  return parent !== undefined && isFamily(parent, ours);
}

/**
 * Says what keeps the process from being ready, according to a status. Undefined when it passes its checks.
 * @param who the subject of the sentence, such as `PID 123`
 * @returns `cause` is what `isHealthy` threw
 */
export function obstacle(
  who: string,
  spec: CompleteSpec,
  { checks, pid, address }: Status,
): { what: string; cause?: unknown } | undefined {
  if (pid !== undefined && checks.process === false) return { what: `${who} is suspended (SIGSTOP, Ctrl-Z)` };
  const { host, readyPort, readyLine, isHealthy } = spec;
  const places = [address, addressOf({ host, port: readyPort })].filter((it) => it !== undefined);
  if (checks.port === false) return { what: `${who} does not accept connections on ${places.join(' and ')}` };
  if (checks.health !== false) return undefined;
  if (!readinessOf(spec).isLineSeen) return { what: `${who} has not printed its ready line, ${inspect(readyLine)}` };
  if (isHealthy === undefined) return undefined;
  const { reason } = failures.get(isHealthy) ?? {};
  const { cause } = (reason ?? {}) as Error;
  const why = [reason, cause].filter((it) => it !== undefined).map(errorText);
  return { what: [`${who} is not healthy`, ...why].join(': '), cause: reason };
}
