/** One look at port and health, and the wait until both are right. */

import { once } from 'node:events';
import { journalOf } from '../state/journal.js';
import { addressOf, type CompleteSpec, type Instance } from '../state/process-spec.js';
import { abortAfter, type Deadline } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { isPortOpen } from '../system/ports.js';
import type { ProcessInfo } from '../system/process-info.js';
import { processTable } from '../system/process-table.js';

const log = debugLog('readiness');

/** With nothing to ask, a process that is still alive after this time counts as ready. */
export const ALIVE_MS = 100;

/** Undefined: not configured, or not reached. */
export interface CheckResult {
  readonly port: boolean | undefined;
  readonly health: boolean | undefined;
}

export function instanceOf(spec: CompleteSpec, process: ProcessInfo, { reused }: { reused: boolean }): Instance {
  return Object.freeze({ pid: process.pid, startedAt: startedAt(spec, process), address: addressOf(spec), reused });
}

/** As the journal has it, the same for everybody who asks; the system tells it to a second. */
export function startedAt(spec: CompleteSpec, process: ProcessInfo): Date {
  const { spawned } = journalOf(spec).readIfReadable();
  const isNamed = spawned?.pid === process.pid && spawned.startKey === process.startKey;
  return new Date(isNamed ? spawned.at : processTable().startTime(process) * 1000);
}

export function hasChecks({ port, isHealthy }: CompleteSpec): boolean {
  return port !== undefined || isHealthy !== undefined;
}

export interface CheckOptions {
  signal?: AbortSignal | undefined;
  /** Cuts `checkTimeoutMs` short. */
  limit?: Deadline | undefined;
}

/** Each of the two has `checkTimeoutMs`. An aborted signal ends the look with false. */
export async function runChecks(
  spec: CompleteSpec,
  instance: Instance,
  { signal, limit }: CheckOptions = {},
): Promise<CheckResult> {
  const { host, port, isHealthy, checkTimeoutMs } = spec;
  const timeoutMs = () => Math.min(checkTimeoutMs, limit?.remainingMs ?? checkTimeoutMs);
  const portIsOpen =
    port === undefined ? undefined : await isPortOpen({ host, port }, { timeoutMs: timeoutMs(), signal });
  if (portIsOpen === false || isHealthy === undefined) return { port: portIsOpen, health: undefined };
  return { port: portIsOpen, health: await askHealth(spec, isHealthy, instance, abortAfter(timeoutMs(), signal)) };
}

export function arePassed({ port, health }: CheckResult): boolean {
  return port !== false && health !== false;
}

/** Is it ready at this instant? */
export async function isReady(
  spec: CompleteSpec,
  process: ProcessInfo,
  { reused, ...options }: { reused: boolean } & CheckOptions,
): Promise<boolean> {
  if (process.isSuspended) return false;
  if (!hasChecks(spec)) return isSettled(process);
  return arePassed(await runChecks(spec, instanceOf(spec, process, { reused }), options));
}

/** Old enough to count as ready when there is nothing to ask. */
export function isSettled(process: ProcessInfo): boolean {
  return processTable().age(process) >= ALIVE_MS;
}

async function askHealth(
  { name }: CompleteSpec,
  isHealthy: NonNullable<CompleteSpec['isHealthy']>,
  instance: Instance,
  { signal, clear }: ReturnType<typeof abortAfter>,
): Promise<boolean> {
  // A check that ignores its signal must not hold up the one who waits for it.
  const over = new AbortController();
  const aborted = once(signal, 'abort', { signal: over.signal }).then(() => Promise.reject(signal.reason));
  try {
    signal.throwIfAborted();
    return (await Promise.race([callHealth(isHealthy, instance, signal), aborted])) === true;
  } catch (error) {
    log('%s is not healthy: %s', name, errorText(error));
    return false;
  } finally {
    clear();
    aborted.catch(() => undefined);
    over.abort();
  }
}

/** Asynchronous, so that an exception of a synchronous check is a rejection like any other. */
async function callHealth(
  isHealthy: NonNullable<CompleteSpec['isHealthy']>,
  instance: Instance,
  signal: AbortSignal,
): Promise<boolean> {
  return await isHealthy(instance, signal);
}

/** How long a look may take when start time is over. */
export const LAST_LOOK_MS = 250;
