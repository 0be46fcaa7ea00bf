/** The limit of a row, and whether the row keeps it. */
// @ts-check
import { median, pairedMedian } from './measure.mjs';

/**
 * @typedef {{ times: number } | { plus: number } | { atMost: number }} Limit
 *   times the reference; the reference and so much more; an absolute figure
 *
 * @typedef {object} Row
 * @property {string} what
 * @property {string} unit
 * @property {string} subject the contestant that the budget is for
 * @property {Record<string, number[]>} samples
 * @property {string} [reference] the contestant that it is measured against
 * @property {Limit} [limit] none: a row to look at
 *
 * @typedef {object} Verdict
 * @property {string} budget
 * @property {string} measured
 * @property {boolean | undefined} holds
 */

/** @param {Row} row @returns {Verdict} */
export function judge(row) {
  const { unit, reference, limit } = row;
  const { value, allowed } = weigh(row);
  if (limit === undefined) return { budget: '–', measured: figure(value, unit), holds: undefined };
  const holds = value <= allowed;
  if ('atMost' in limit) return { budget: `≤ ${allowed} ${unit}`, measured: figure(value, unit), holds };
  if ('times' in limit) return { budget: `≤ ${allowed}× ${reference}`, measured: `${value.toFixed(2)}×`, holds };
  const measured = `${value < 0 ? '–' : '+'} ${figure(Math.abs(value), unit)}`;
  return { budget: `≤ ${reference} + ${allowed} ${unit}`, measured, holds };
}

/** The share of its limit that the row uses, 1 for all of it; undefined for a row without a limit. @param {Row} row */
export function shareOfLimit(row) {
  if (row.limit === undefined) return undefined;
  const { value, allowed } = weigh(row);
  return value <= 0 ? 0 : value / allowed;
}

/** The measured value and the allowed one, in the terms of the limit. @param {Row} row */
function weigh({ subject, samples, reference, limit }) {
  const ours = samples[subject] ?? [];
  if (limit === undefined) return { value: median(ours), allowed: Number.NaN };
  if ('atMost' in limit) return { value: median(ours), allowed: limit.atMost };
  if (reference === undefined) throw new Error(`the budget of "${subject}" needs a reference`);
  const theirs = samples[reference] ?? [];
  if ('times' in limit) return { value: pairedMedian(ours, theirs, (one, other) => one / other), allowed: limit.times };
  return { value: pairedMedian(ours, theirs, (one, other) => one - other), allowed: limit.plus };
}

/** @param {number} value @param {string} unit */
export function figure(value, unit) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}
