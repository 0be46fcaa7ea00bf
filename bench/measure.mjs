/** Measures the subject and its peers in turn, so that other work on the machine affects all of them alike. */
// @ts-check
import { setTimeout as delay } from 'node:timers/promises';

/** A round that takes longer hangs. */
const PATIENCE_MS = 60_000;

/**
 * @typedef {object} Contestant
 * @property {string} name
 * @property {(round: number) => number | Promise<number>} once one round; its result, in the row's unit
 * @property {number} [rounds] fewer than the others, of one that takes a second
 */

/**
 * Runs one round after another with all contestants in each, and a different one first each time. A round before them is not counted.
 * @param {readonly Contestant[]} contestants
 * @param {{ rounds: number }} options
 * @returns {Promise<Record<string, number[]>>} results by name, in the order of the rounds
 */
export async function compare(contestants, { rounds }) {
  /** @type {Record<string, number[]>} */
  const samples = Object.fromEntries(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (let turn = 0; turn < contestants.length; turn += 1) {
      const contestant = contestants[(round + turn) % contestants.length];
      if (contestant === undefined || round > (contestant.rounds ?? rounds)) continue;
      const result = await within(contestant.name, contestant.once(round));
      if (round > 0) samples[contestant.name]?.push(result);
    }
  }
  return samples;
}

/**
 * @template T
 * @param {string} name
 * @param {T | Promise<T>} result
 */
async function within(name, result) {
  const over = new AbortController();
  const late = delay(PATIENCE_MS, undefined, { signal: over.signal }).then(() => {
    throw new Error(`${name}: no end within ${PATIENCE_MS} ms`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([result, late]);
  } finally {
    over.abort();
  }
}

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * The median of the values that `combine` makes of each round's two results, so that noise which lasts longer than a round cancels
 * out.
 * @param {readonly number[]} ones
 * @param {readonly number[]} others
 * @param {(one: number, other: number) => number} combine
 */
export function pairedMedian(ones, others, combine) {
  const rounds = Math.min(ones.length, others.length);
  return median(ones.slice(0, rounds).map((one, index) => combine(one, others[index] ?? Number.NaN)));
}

/**
 * @param {() => unknown} act
 * @returns {Promise<number>} milliseconds
 */
export async function timed(act) {
  const began = performance.now();
  await act();
  return performance.now() - began;
}
