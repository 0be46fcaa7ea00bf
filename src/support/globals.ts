/**
 * Clock, timers and chance as they are when the library is loaded. Test runners replace those of the globals at any time:
 * under a fake clock no time limit would fire, and every loop that waits for one would be endless.
 */

import { performance } from 'node:perf_hooks';
import { setTimeout as promiseTimeout } from 'node:timers/promises';
import { builtIn } from './load.js';

/** Milliseconds on the monotonic clock. */
export const now = performance.now.bind(performance);

/** Of these, too, constants of our own: a fake clock also patches the exports of node:timers. */
export const { clearTimeout, setImmediate, setTimeout } = builtIn('node:timers');

/** setTimeout() of node:timers/promises. */
export const delay = promiseTimeout;

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
export function systemTimeMs(): number {
  return SystemDate.now();
}

/** The same as text, in the form of `Date.prototype.toISOString`. */
export function systemTimeText(): string {
  return new SystemDate().toISOString();
}
