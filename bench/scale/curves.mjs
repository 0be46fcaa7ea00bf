/** Medians as a function of a size. */
// @ts-check
import { median } from '../measure.mjs';

/**
 * @typedef {object} Curve
 * @property {string} panel what is drawn together
 * @property {string} what
 * @property {string} along what grows
 * @property {string} unit
 * @property {{ size: number, value: number }[]} points medians
 *
 * @typedef {Record<string, number>} Measured name to value
 */

/** How often each size is measured, in turn. An additional turn before them, without the last size, is not counted. */
const TURNS = 3;

/**
 * @param {{ panel: string, along: string, unit: string, sizes: readonly number[], turns?: number }} axis
 * @param {(size: number) => Promise<Measured>} measure
 * @returns {Promise<{ curves: Curve[], samples: Map<number, Measured[]> }>}
 */
export async function measureCurves({ panel, along, unit, sizes, turns = TURNS }, measure) {
  /** @type {Map<number, Measured[]>} */
  const samples = new Map(sizes.map((size) => [size, []]));
  for (const size of sizes.slice(0, -1)) await measure(size);
  for (let turn = 0; turn < turns; turn += 1) {
    for (const [size, values] of samples) values.push(await measure(size));
  }
  const names = Object.keys(samples.values().next().value?.[0] ?? {});
  const curves = names.map((what) => {
    const points = [...samples].map(([size, values]) => ({ size, value: median(valuesOf(values, what)) }));
    return { panel, what, along, unit, points };
  });
  return { curves, samples };
}

/** @param {readonly Measured[] | undefined} measured @param {string} name */
export function valuesOf(measured, name) {
  return (measured ?? []).map((values) => values[name] ?? Number.NaN);
}
