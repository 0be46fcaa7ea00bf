/**
 * Clock, timers and random numbers as they are when the library is loaded. Test runners replace those of the globals,
 * and the exports of node:timers, at any time: under a fake clock no time limit would fire, and every loop that waits
 * for one would be endless.
 */

import { builtIn } from './load.js';

export const { clearTimeout, setImmediate, setTimeout } = builtIn('node:timers');

/**
 * The globals of Node's own realm. jest gives the tests other globals and a copy of `process`, and can replace those
 * before it loads the library (`fakeTimers: { enableGlobally: true }`).
 */
const node = builtIn('node:vm').runInThisContext('globalThis') as typeof globalThis;
const { AbortController: SystemAbortController, Date: SystemDate, process: systemProcess } = node;

export const { nextTick, uptime } = systemProcess;

const { hrtime, versions } = systemProcess;

function hrtimeMs(): number {
  const [seconds, nanoseconds] = hrtime();
  return seconds * 1_000 + nanoseconds / 1_000_000;
}

/**
 * Milliseconds on the monotonic clock. In Node, loading node:perf_hooks for it takes a fifth of the time of an import.
 * The hrtime() of Deno reads the global `performance`, which a fake clock replaces.
 */
export const now = 'deno' in versions ? performanceNow() : hrtimeMs;

function performanceNow(): () => number {
  const { performance } = builtIn('node:perf_hooks');
  return performance.now.bind(performance);
}

/** By default sinon replaces process.nextTick as well. */
export function isNextTickReplaced(): boolean {
  return systemProcess.nextTick !== nextTick;
}

export const { random } = Math;

/** Seconds since the boot, including sleeps of the machine; under lxcfs, since the start of the container. */
export const { uptime: systemUptime } = builtIn('node:os');

/** The age of this process on the monotonic clock minus the system's uptime, both when the library is loaded. */
export const ageLessUptimeMs = (uptime() - systemUptime()) * 1000;

/** Milliseconds since 1970 on the system's clock. */
export const systemTimeMs = SystemDate.now;
export const systemTimeText = () => new SystemDate().toISOString();

/** Node's own modules accept this signal, and it has a reason, whatever jsdom or a polyfill puts into the globals. */
export const newAbort = () => new SystemAbortController();
