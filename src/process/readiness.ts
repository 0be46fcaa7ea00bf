/** One look at port and health, and the wait until both are right. */
import { debugLog } from '../shared/debug.js';
import { errorText } from '../shared/errors.js';
import { isPortOpen } from './port.js';
import { addressOf, type CompleteSpec, type Instance } from './process-spec.js';
import { type ProcessInfo, processTable } from './process-table.js';

const log = debugLog('readiness');

/** With nothing to ask, a process that is still alive after this time counts as ready. */
const ALIVE_MS = 100;

/** Undefined: not configured, or not reached. */
export interface CheckResult {
  readonly port: boolean | undefined;
  readonly health: boolean | undefined;
}

export function instanceOf(spec: CompleteSpec, process: ProcessInfo, { reused }: { reused: boolean }): Instance {
  const startedAt = new Date(processTable().startTime(process) * 1000);
  return Object.freeze({ pid: process.pid, startedAt, address: addressOf(spec), reused });
}

export function hasChecks({ port, isHealthy }: CompleteSpec): boolean {
  return port !== undefined || isHealthy !== undefined;
}

/** Each of the two has `checkTimeoutMs`. An aborted signal ends the look with false. */
export async function runChecks(spec: CompleteSpec, instance: Instance, signal?: AbortSignal): Promise<CheckResult> {
  const { host, port, isHealthy, checkTimeoutMs } = spec;
  const portIsOpen = port === undefined ? undefined : await isPortOpen({ host, port }, checkTimeoutMs);
  if (portIsOpen === false || isHealthy === undefined) return { port: portIsOpen, health: undefined };
  return { port: portIsOpen, health: await askHealth(spec, isHealthy, instance, signal) };
}

export function arePassed({ port, health }: CheckResult): boolean {
  return port !== false && health !== false;
}

/** Is it ready at this instant? */
export async function isReady(
  spec: CompleteSpec,
  process: ProcessInfo,
  { reused, signal }: { reused: boolean; signal?: AbortSignal | undefined },
): Promise<boolean> {
  if (process.isSuspended) return false;
  if (!hasChecks(spec)) return isSettled(process);
  return arePassed(await runChecks(spec, instanceOf(spec, process, { reused }), signal));
}

/** Old enough to count as ready when there is nothing to ask. */
export function isSettled(process: ProcessInfo): boolean {
  return processTable().age(process) >= ALIVE_MS;
}

async function askHealth(
  spec: CompleteSpec,
  isHealthy: NonNullable<CompleteSpec['isHealthy']>,
  instance: Instance,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const over = new AbortController();
  const timeLimit = new Error(`no answer within ${spec.checkTimeoutMs} ms`);
  const timer = setTimeout(() => over.abort(timeLimit), Math.min(spec.checkTimeoutMs, 0x7fffffff));
  const both = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  // A check that ignores its signal must not hold up the one who waits for it.
  const aborted = new Promise<never>((_, reject) => {
    if (both.aborted) reject(both.reason);
    both.addEventListener('abort', () => reject(both.reason), { once: true });
  });
  try {
    return (await Promise.race([callHealth(isHealthy, instance, both), aborted])) === true;
  } catch (error) {
    log('%s is not healthy: %s', spec.name, errorText(error));
    return false;
  } finally {
    clearTimeout(timer);
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
