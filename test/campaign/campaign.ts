/**
 * `npm run campaign`: attacks each law with real processes, and prints a table of attempts and violations.
 *
 * `--seed=N` repeats a campaign's random choices (default: a random one, printed); `--share=0.1` makes a tenth of the
 * attempts (default 1); words choose the rows whose group or name contains one of them, `--row=NAME` the one of that name;
 * `--enough=1` lets a row give up at its first violation (default 5). Exit code 1 on any violation.
 */
import { randomInt } from 'node:crypto';
import { cpus, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { Random } from '../helpers/random.js';
import { makeAttack, type Outcome, type Row } from './attack.js';
import { groups } from './rows.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string' },
    share: { type: 'string', default: '1' },
    row: { type: 'string' },
    enough: { type: 'string' },
  },
});
const seed = Number(values.seed ?? randomInt(2 ** 32));
const share = Number(values.share);
const enough = values.enough === undefined ? {} : { enough: Number(values.enough) };
const chosen = Object.entries(groups).flatMap(([group, rows]) => rows.filter((row) => isChosen(group, row)));
if (!Number.isInteger(seed) || !(share > 0) || chosen.length === 0) {
  console.error('Usage: npm run campaign -- [--seed=N] [--share=FRACTION] [WORD …]');
  process.exit(2);
}

console.log(`Seed ${seed}, share ${share}. ${machine()}\n`);
const start = performance.now();
const outcomes = await attackAll(chosen);
const violations = outcomes.reduce((sum, outcome) => sum + outcome.violations.length, 0);
console.log(`\n${table(outcomes)}\n`);
console.log(`${violations} violations, ${Math.round((performance.now() - start) / 1000)} s, seed ${seed}`);
process.exit(violations === 0 ? 0 : 1);

function isChosen(group: string, { name }: Row): boolean {
  if (values.row !== undefined) return name === values.row;
  return positionals.length === 0 || positionals.some((word) => `${group} ${name}`.includes(word));
}

async function attackAll(rows: readonly Row[]): Promise<Outcome[]> {
  const outcomes = new Map(rows.filter(({ beside }) => beside).map((row) => [row, attackOne(row)]));
  for (const row of rows.filter(({ beside }) => !beside)) {
    const outcome = attackOne(row);
    outcomes.set(row, outcome);
    await outcome;
  }
  return await Promise.all(rows.map((row) => outcomes.get(row) as Promise<Outcome>));
}

async function attackOne(row: Row): Promise<Outcome> {
  const outcome = await makeAttack(row, { seed: rowSeed(row), share, ...enough });
  report(outcome);
  return outcome;
}

/** The seed of a row depends on its name, so the row makes the same choices whether it runs alone or with others. */
function rowSeed(row: Row): number {
  let sum = seed;
  for (const character of row.name) sum = Math.imul(sum ^ character.charCodeAt(0), 0x01000193);
  return new Random(sum).fork();
}

function report({ row, attempts, violations, remarks, elapsedMs }: Outcome): void {
  const mark = violations.length === 0 ? '✔' : '✖';
  console.log(`${mark} ${row.name}: ${attempts} attempts, ${violations.length} violations, ${seconds(elapsedMs)} s`);
  for (const remark of remarks.slice(0, 8)) console.log(`    ${remark}`);
  for (const violation of violations) console.log(`    VIOLATION ${violation.replaceAll('\n', '\n    ')}`);
}

/** The table in Markdown, for docs/campaign.md. */
function table(outcomes: readonly Outcome[]): string {
  const lines = outcomes.map(({ row, attempts, violations, elapsedMs }) =>
    [row.laws.join(', '), row.name, attempts.toLocaleString('en'), violations.length, seconds(elapsedMs)].join(' | '),
  );
  return [
    '| law | what holds | attempts | violations | s |',
    '|---|---|--:|--:|--:|',
    ...lines.map((line) => `| ${line} |`),
  ].join('\n');
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(1);
}

function machine(): string {
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${process.platform} ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? '?'}, ${memory} GiB, Node ${process.version}, ${new Date().toISOString().slice(0, 16)}Z`;
}
