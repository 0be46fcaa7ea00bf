/** What a row may cost, and whether it does. */
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
export function judge({ unit, subject, samples, reference, limit }) {
  const ours = samples[subject] ?? [];
  if (limit === undefined) return { budget: '–', measured: figure(median(ours), unit), holds: undefined };
  if ('atMost' in limit) {
    const value = median(ours);
    return { budget: `≤ ${limit.atMost} ${unit}`, measured: figure(value, unit), holds: value <= limit.atMost };
  }
  if (reference === undefined) throw new Error(`the budget of "${subject}" needs a reference`);
  const theirs = samples[reference] ?? [];
  if ('times' in limit) {
    const ratio = pairedMedian(ours, theirs, (one, other) => one / other);
    return { budget: `≤ ${limit.times}× ${reference}`, measured: `${ratio.toFixed(2)}×`, holds: ratio <= limit.times };
  }
  const more = pairedMedian(ours, theirs, (one, other) => one - other);
  return {
    budget: `≤ ${reference} + ${limit.plus} ${unit}`,
    measured: `${more < 0 ? '–' : '+'} ${figure(Math.abs(more), unit)}`,
    holds: more <= limit.plus,
  };
}

/** @param {number} value @param {string} unit */
export function figure(value, unit) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}
