/**
 * Measures the budgets of the design, each beside its peers in one run. It is never a gate: it exits with 0 whatever holds.
 *
 *   npm run bench                        all rows
 *   npm run bench -- --only=WORD         the groups whose name contains the word: locks, starts, blocked, crashes,
 *                                        temporal, questions, imports, commands, watchers, idle, scale
 *   npm run bench -- --whole              with all sizes of the group scale, as with --only=scale
 *   npm run bench -- --rounds=N          more or fewer rounds (15)
 *   npm run bench -- --markdown          the table as Markdown, for docs/bench.md
 */
// @ts-check
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installPeers } from './peers.mjs';
import { plot } from './plot.mjs';
import { formatReport, toJson } from './report.mjs';
import { measureBlocked } from './rows/blocked.mjs';
import { measureCommands } from './rows/commands.mjs';
import { measureCrashes } from './rows/crashes.mjs';
import { measureIdle } from './rows/idle.mjs';
import { measureImports } from './rows/imports.mjs';
import { measureLocks } from './rows/locks.mjs';
import { measureQuestions } from './rows/questions.mjs';
import { measureStarts } from './rows/starts.mjs';
import { measureTemporal } from './rows/temporal.mjs';
import { measureWatchers } from './rows/watchers.mjs';
import { picture } from './scale/picture.mjs';
import { measureScale } from './scale/scale.mjs';
import { endPrograms, machineLine } from './surroundings.mjs';

/** @type {Record<string, (options: { rounds: number }) => Promise<import('./budgets.mjs').Row[]>>} */
const GROUPS = {
  locks: measureLocks,
  starts: measureStarts,
  blocked: measureBlocked,
  temporal: measureTemporal,
  crashes: measureCrashes,
  questions: measureQuestions,
  imports: measureImports,
  commands: measureCommands,
  watchers: measureWatchers,
  idle: measureIdle,
};

const results = fileURLToPath(new URL('./results/', import.meta.url));

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '15' },
    whole: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1)
  throw new TypeError(`--rounds must be a whole number, not ${values.rounds}`);

installPeers();
try {
  const report = await measure();
  console.log(formatReport(report, { asMarkdown: values.markdown }));
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, 'bench.json'), toJson(report));
  writeFileSync(join(results, 'bench.svg'), plot(report));
  writeFileSync(join(results, 'scale.svg'), picture(report));
  console.error(`bench.json, bench.svg and scale.svg are in ${results}`);
} finally {
  await endPrograms();
}

async function measure() {
  const machine = machineLine();
  const began = performance.now();
  /** @type {import('./budgets.mjs').Row[]} */
  const rows = [];
  for (const [name, measureGroup] of Object.entries(GROUPS)) rows.push(...((await attempt(name, measureGroup)) ?? []));
  // When the group is asked for by name it is measured at all sizes, which takes minutes.
  const scale = await attempt('scale', () => measureScale({ isShort: values.only === '' && !values.whole }));
  rows.push(...(scale?.rows ?? []));
  return { machine, rounds, seconds: (performance.now() - began) / 1_000, rows, curves: scale?.curves ?? [] };
}

/**
 * Measures one group. A group that fails is named, and the others are measured all the same.
 * @template T
 * @param {string} name
 * @param {(options: { rounds: number }) => Promise<T>} measureGroup
 * @returns {Promise<T | undefined>}
 */
async function attempt(name, measureGroup) {
  if (!name.includes(values.only)) return undefined;
  console.error(`${name} …`);
  try {
    return await measureGroup({ rounds });
  } catch (error) {
    console.error(`${name} failed:`, error);
    process.exitCode = 1;
    return undefined;
  }
}
