/** Draws the picture of docs/bench.md: how much of its limit each budget uses, and how the cost grows. */
// @ts-check
import { figure, judge, shareOfLimit } from '../budgets.mjs';
import { text } from '../plot.mjs';

/** @typedef {import('./curves.mjs').Curve} Curve */
/** @typedef {import('../budgets.mjs').Row} Row */

const WIDTH = 960;
const LABEL_WIDTH = 390;
const BAR_HEIGHT = 17;
const LIMIT_X = 620;

/** A bar that goes far beyond its limit ends here, and its figure shows how far it would go. */
const MOST_SHARE = 1.25;

const FIGURES_X = LABEL_WIDTH + MOST_SHARE * (LIMIT_X - LABEL_WIDTH) + 8;
const COLUMNS = 3;
const PANEL = { width: WIDTH / COLUMNS, height: 240, left: 52, right: 26, top: 70, bottom: 44 };
const HOLDS = '#2a6fdb';
const MISSES = '#c0392b';
const AXIS = '#999';
const LINES = ['#2a6fdb', '#d9822b', '#2e8b57', '#8e44ad'];

/** @param {{ machine: string, rows: readonly Row[], curves: readonly Curve[] }} report @returns {string} SVG */
export function picture({ machine, rows, curves }) {
  const judged = rows.filter((row) => shareOfLimit(row) !== undefined);
  const panels = grouped(curves);
  const barsTop = 66;
  const panelsTop = barsTop + judged.length * BAR_HEIGHT + 50;
  const height = panelsTop + Math.ceil(panels.size / COLUMNS) * PANEL.height + 10;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif">`,
    '<title>How much of its limit each budget uses, and how cost grows</title>',
    '<rect width="100%" height="100%" fill="white"/>',
    text(10, 20, machine),
    text(10, 48, 'How much of its limit each budget uses', { isBold: true, size: 13 }),
    text(LIMIT_X, 48, 'the limit', { anchor: 'middle' }),
    ...judged.map((row, index) => bar(row, barsTop + index * BAR_HEIGHT)),
    `<line x1="${LIMIT_X}" x2="${LIMIT_X}" y1="${barsTop - 12}" y2="${barsTop + judged.length * BAR_HEIGHT}" stroke="${MISSES}" stroke-width="1.5"/>`,
    text(10, panelsTop - 10, 'How cost grows (both axes logarithmic)', { isBold: true, size: 13 }),
    ...[...panels].map(([name, group], index) => {
      const [x, y] = [(index % COLUMNS) * PANEL.width, panelsTop + Math.floor(index / COLUMNS) * PANEL.height];
      return `<g transform="translate(${x.toFixed(0)} ${y})">\n${panel(name, group)}\n</g>`;
    }),
    '</svg>\n',
  ].join('\n');
}

/** @param {Row} row @param {number} y */
function bar(row, y) {
  const share = shareOfLimit(row) ?? 0;
  const { measured, budget, holds } = judge(row);
  const end = LABEL_WIDTH + Math.min(share, MOST_SHARE) * (LIMIT_X - LABEL_WIDTH);
  const width = Math.max(1, end - LABEL_WIDTH).toFixed(1);
  const colour = holds ? HOLDS : MISSES;
  return [
    text(LABEL_WIDTH - 8, y, row.what, { anchor: 'end' }),
    `<rect x="${LABEL_WIDTH}" y="${y - 10}" width="${width}" height="${BAR_HEIGHT - 5}" fill="${colour}"><title>${holds ? 'holds' : 'does not hold'}</title></rect>`,
    text(FIGURES_X, y, `${measured} (${budget.replace(/the same calls without us/, 'raw calls')})`, {
      size: 9,
    }),
  ].join('\n');
}

/** @param {string} name @param {readonly Curve[]} curves */
function panel(name, curves) {
  const points = curves.flatMap((curve) => curve.points).filter(({ value }) => value > 0);
  const { along = '', unit = '', points: axis = [] } = curves[0] ?? {};
  const across = logScale(
    axis.map(({ size }) => size),
    PANEL.left,
    PANEL.width - PANEL.right,
  );
  const up = logScale(
    points.map(({ value }) => value),
    PANEL.height - PANEL.bottom,
    PANEL.top,
  );
  const bottom = PANEL.height - PANEL.bottom + 8;
  return [
    text(PANEL.left - 40, 18, `${name}, ${unit}`, { isBold: true }),
    `<line x1="${PANEL.left - 8}" x2="${PANEL.width - PANEL.right + 8}" y1="${bottom}" y2="${bottom}" stroke="${AXIS}"/>`,
    ...axis.map(({ size }) =>
      text(across(size), bottom + 14, size.toLocaleString('en'), { anchor: 'middle', size: 9 }),
    ),
    text((PANEL.left + PANEL.width - PANEL.right) / 2, bottom + 28, along, { anchor: 'middle', size: 10 }),
    ...curves.map((curve, index) => line(curve, { across, up, colour: LINES[index % LINES.length] ?? HOLDS })),
    ...(curves.length === 1 ? [] : legend(curves)),
  ].join('\n');
}

/** @param {readonly Curve[]} curves */
function legend(curves) {
  return curves.map(({ what }, index) => {
    const [x, y] = [PANEL.left - 40 + (index % 2) * 140, 30 + Math.floor(index / 2) * 11];
    return `<g fill="${LINES[index % LINES.length]}"><rect x="${x}" y="${y - 6}" width="8" height="3"/></g>${text(x + 12, y - 1, what, { size: 9 })}`;
  });
}

/** @param {Curve} curve @param {{ across: (value: number) => number, up: (value: number) => number, colour: string }} scales */
function line({ points }, { across, up, colour }) {
  const placed = points
    .filter(({ value }) => value > 0)
    .map(({ size, value }) => ({ value, x: across(size), y: up(value) }));
  return [
    `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${placed.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ')}"/>`,
    ...placed.flatMap(({ value, x, y }) => [
      `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="2.5" fill="${colour}"/>`,
      text(x, y - 5, figure(value, '').trim(), { anchor: 'middle', size: 9 }),
    ]),
  ].join('\n');
}

/**
 * A scale of at least a decade, so that a value which does not grow looks flat. @param {readonly number[]} values @param {number}
 * from @param {number} to
 */
function logScale(values, from, to) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const span = Math.max(Math.log(most / least), Math.LN10);
  return (/** @type {number} */ value) => from + (Math.log(value / least) / span) * (to - from);
}

/** @param {readonly Curve[]} curves @returns {Map<string, Curve[]>} */
function grouped(curves) {
  /** @type {Map<string, Curve[]>} */
  const panels = new Map();
  for (const curve of curves) panels.set(curve.panel, [...(panels.get(curve.panel) ?? []), curve]);
  return panels;
}
