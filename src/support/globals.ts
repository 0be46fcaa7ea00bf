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
const { Date: SystemDate, process: systemProcess } = node;

export const { nextTick } = systemProcess;

/** By default sinon replaces that one as well. */
export function isNextTickReplaced(): boolean {
  return systemProcess.nextTick !== nextTick;
}

export const { random } = Math;

/** Milliseconds since 1970, as the system's clock has it. */
export const systemTimeMs = SystemDate.now;
export const systemTimeText = () => new SystemDate().toISOString();
