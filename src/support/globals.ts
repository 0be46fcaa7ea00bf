/**
 * Clock, timers and chance as they are when the library is loaded. Test runners replace those of the globals at any time:
 * under a fake clock no time limit would fire, and every loop that waits for one would be endless.
 */

import { performance } from 'node:perf_hooks';
import { setTimeout as callAfter, setImmediate as callSoon, clearTimeout as clear } from 'node:timers';
import { setTimeout as delayFor } from 'node:timers/promises';

/** Milliseconds on the monotonic clock. */
export const now = performance.now.bind(performance);

/** Of these, too, constants of our own: a fake clock also replaces the exports of node:timers. */
export const clearTimeout = clear;
export const setImmediate = callSoon;
export const setTimeout = callAfter;

/** setTimeout() of node:timers/promises. */
export const delay = delayFor;

export const { nextTick } = process;

export const { random } = Math;

const SystemDate = Date;

/** Milliseconds since 1970, as the system's clock has it. */
export function systemTimeMs(): number {
  return SystemDate.now();
}

/** The same as text, in the form of `Date.prototype.toISOString`. */
export function systemTimeText(): string {
  return new SystemDate().toISOString();
}
