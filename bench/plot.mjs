/** Draws the results: each row's medians as bars on a logarithmic scale, its budget as a line. */
// @ts-check

import { figure } from './budgets.mjs';
import { median } from './measure.mjs';
import { medians } from './report.mjs';

/** @typedef {import('./budgets.mjs').Row} Row */

const WIDTH = 900;
const LABEL_WIDTH = 260;
const BAR_HEIGHT = 16;
const GAP = 30;
const COLOURS = { subject: '#2a6fdb', peer: '#b8bfca', limit: '#c0392b', text: '#222' };

/** @param {{ machine: string, rows: readonly Row[] }} report @returns {string} SVG */
export function plot({ machine, rows }) {
  let y = 40;
  /** @type {string[]} */
  const parts = [text(10, 20, machine, { size: 11 })];
  for (const row of rows) {
    parts.push(text(10, y, row.what, { isBold: true }));
    const { drawing, height } = bars(row, y + 8);
    parts.push(drawing);
    y += height + GAP;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" font-family="sans-serif">`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** @param {Row} row @param {number} top */
function bars(row, top) {
  const values = Object.entries(medians(row));
  const limit = limitOf(row);
  const all = [...values.map(([, value]) => value), ...(limit === undefined ? [] : [limit])].filter(
    (value) => value > 0,
  );
  const scale = logScale(Math.min(...all) / 2, Math.max(...all) * 1.1, LABEL_WIDTH, WIDTH - 90);
  const drawn = values.map(([name, value], index) => {
    const y = top + index * BAR_HEIGHT;
    const end = value > 0 ? scale(value) : LABEL_WIDTH;
    const fill = name === row.subject ? COLOURS.subject : COLOURS.peer;
    return [
      text(LABEL_WIDTH - 8, y + 11, name, { anchor: 'end' }),
      `<rect x="${LABEL_WIDTH}" y="${y + 2}" width="${(end - LABEL_WIDTH).toFixed(1)}" height="${BAR_HEIGHT - 4}" fill="${fill}"/>`,
      text(end + 5, y + 11, figure(value, row.unit)),
    ].join('\n');
  });
  const height = values.length * BAR_HEIGHT;
  if (limit !== undefined && limit > 0) {
    const x = scale(limit).toFixed(1);
    drawn.push(
      `<line x1="${x}" x2="${x}" y1="${top}" y2="${top + height}" stroke="${COLOURS.limit}" stroke-width="2"/>`,
    );
  }
  return { drawing: drawn.join('\n'), height };
}

/** The budget in the row's unit. @param {Row} row */
function limitOf({ samples, reference, limit }) {
  if (limit === undefined) return undefined;
  if ('atMost' in limit) return limit.atMost;
  const base = median(samples[reference ?? ''] ?? []);
  return 'times' in limit ? base * limit.times : base + limit.plus;
}

/** @param {number} least @param {number} most @param {number} from @param {number} to */
function logScale(least, most, from, to) {
  const span = Math.log(most / least) || 1;
  return (/** @type {number} */ value) => from + (Math.log(value / least) / span) * (to - from);
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} words
 * @param {{ anchor?: 'start' | 'middle' | 'end', size?: number, isBold?: boolean }} [style]
 */
export function text(x, y, words, { anchor = 'start', size = 11, isBold = false } = {}) {
  const escaped = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const weight = isBold ? ' font-weight="bold"' : '';
  return `<text x="${x.toFixed(1)}" y="${y}" font-size="${size}" text-anchor="${anchor}"${weight} fill="${COLOURS.text}">${escaped}</text>`;
}
