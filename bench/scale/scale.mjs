/**
 * Measures how the cost grows: with managers, supervisors and stops in one process, with starters, with the journal, with the log.
 */
// @ts-check
import { scaleContenders } from './contenders.mjs';
import { scaleJournal } from './journal.mjs';
import { scaleLog } from './log.mjs';
import { scaleManagers } from './managers.mjs';

/** @typedef {{ rows: import('../budgets.mjs').Row[], curves: import('./curves.mjs').Curve[] }} Scale */

/**
 * @param {{ isShort: boolean }} options `isShort`: at sizes that take a minute, instead of all sizes with a promise @returns
 * {Promise<Scale>}
 */
export async function measureScale(options) {
  const parts = [];
  for (const scale of [scaleLog, scaleJournal, scaleContenders, scaleManagers]) parts.push(await scale(options));
  return { rows: parts.flatMap(({ rows }) => rows), curves: parts.flatMap(({ curves }) => curves) };
}
