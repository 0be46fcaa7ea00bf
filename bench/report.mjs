/** Prints the results: as a table for a terminal or for docs/bench.md, and as JSON. */
// @ts-check
import { figure, judge } from './budgets.mjs';
import { median } from './measure.mjs';

/** @typedef {import('./budgets.mjs').Row} Row */
/** @typedef {import('./scale/curves.mjs').Curve} Curve */
/** @typedef {{ machine: string, rounds: number, seconds: number, rows: Row[], curves: Curve[] }} Report */

const HEADING = ['what', 'subject', 'budget', 'measured', 'verdict', 'peers (median)'];

/** @param {Report} report @param {{ asMarkdown: boolean }} options */
export function formatReport({ machine, rounds, seconds, rows, curves }, { asMarkdown }) {
  const table = [HEADING, ...rows.map(cells)];
  const growth = curves.map(({ panel, what, along, unit, points }) => [
    `${panel}: ${what}`,
    along,
    points.map(({ size, value }) => `${size}: ${figure(value, unit).trim()}`).join(', '),
  ]);
  const run = `${machine}; ${rounds} rounds, ${seconds.toFixed(0)} s in all`;
  const parts = [run, asMarkdown ? markdown(table) : columns(table)];
  if (growth.length > 0) {
    const heading = ['how it grows', 'with', 'medians'];
    parts.push(asMarkdown ? markdown([heading, ...growth]) : columns([heading, ...growth]));
  }
  return `${parts.join('\n\n')}\n`;
}

/** @param {Report} report */
export function toJson({ rows, curves, ...run }) {
  const judged = rows.map((row) => ({ ...row, medians: medians(row), ...judge(row) }));
  return `${JSON.stringify({ ...run, rows: judged, curves }, undefined, 2)}\n`;
}

/** @param {Row} row */
export function medians({ samples }) {
  return Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, median(values)]));
}

/** @param {Row} row */
function cells(row) {
  const { budget, measured, holds } = judge(row);
  const all = medians(row);
  const peers = Object.entries(all)
    .filter(([name]) => name !== row.subject)
    .map(([name, value]) => `${name} ${figure(value, row.unit)}`);
  const verdict = holds === undefined ? '–' : holds ? 'holds' : 'DOES NOT HOLD';
  const subject = `${row.subject}: ${figure(all[row.subject] ?? Number.NaN, row.unit)}`;
  return [row.what, subject, budget, measured, verdict, peers.join(', ')];
}

/** @param {readonly string[][]} table */
function columns(table) {
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
  return table
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** @param {readonly string[][]} table */
function markdown([heading = [], ...body]) {
  const lines = [heading, heading.map(() => '---'), ...body];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
