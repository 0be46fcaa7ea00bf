/**
 * Clock, timers and chance as they are when the library is loaded. Test runners replace those of the globals, and the
 * exports of node:timers, at any time: under a fake clock no time limit would fire, and every loop that waits for one would
 * be endless.
 */

import { performance } from 'node:perf_hooks';
import { builtIn } from './load.js';

/** Milliseconds on the monotonic clock. */
export const now = performance.now.bind(performance);

export const { clearTimeout, setImmediate, setTimeout } = builtIn('node:timers');

/**
 * Globals of Node's own realm. jest gives the tests others, and a copy of `process`, and can replace theirs before it loads the
 * library (`fakeTimers: { enableGlobally: true }`).
 */
const node = builtIn('node:vm').runInThisContext('globalThis') as typeof globalThis;
const { AbortController: SystemAbortController, Date: SystemDate, process: systemProcess } = node;

export const { nextTick, uptime } = systemProcess;

/** By default sinon replaces that one as well. */
export function isNextTickReplaced(): boolean {
  return systemProcess.nextTick !== nextTick;
}

export const { random } = Math;

/** Seconds since the boot, sleeps of the machine included; under lxcfs since the container's own start. */
export const { uptime: systemUptime } = builtIn('node:os');

/** When the library is loaded: the age of this process on the monotonic clock, less that uptime. */
export const ageLessUptimeMs = (uptime() - systemUptime()) * 1000;

/** Milliseconds since 1970, as the system's clock has it. */
export const systemTimeMs = SystemDate.now;
export const systemTimeText = () => new SystemDate().toISOString();

/** Node's own modules hear its signal, which has a reason, whatever jsdom or a polyfill has put into the globals. */
export const newAbort = () => new SystemAbortController();
