/**
 * `npm run model`: checks with Spin that each model in model/ holds in all its configurations, and that each mutant fails. `npm run model
 * -- --small` checks only the small ones. Prints a row for each; exit code 1 when a model fails or a mutant holds.
 */
// @ts-check
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** @typedef {{ model: string, settings: string, cycles?: boolean, isFull?: boolean }} Run */
/** @typedef {{ states: string, depth: string, seconds: string, mib: string, outcome: 'holds' | 'fails' | 'not finished', reason: string }} Result */

const models = fileURLToPath(new URL('../model/', import.meta.url));
const isSmall = process.argv.includes('--small');

/** A run that takes longer or needs more memory counts as not finished, which is a failure too. */
const LIMIT_MS = 600_000;
const LIMIT_MIB = 10_000;

/** @type {{ configurations: Run[], mutants: Run[] }} */
const { configurations, mutants } = JSON.parse(readFileSync(join(models, 'runs.json'), 'utf8'));

setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
printRow('model', 'configuration', { states: 'states', depth: 'depth', seconds: 's', mib: 'MiB' }, 'outcome');
const chosen = (/** @type {Run[]} */ runs) => runs.filter(({ isFull }) => !isSmall || isFull !== true);
const violations = [
  ...chosen(configurations).filter((run) => check(run).outcome !== 'holds'),
  ...chosen(mutants).filter((run) => check(run).outcome !== 'fails'),
];
for (const { model, settings } of violations) console.error(`Not as it must be: ${model} ${settings}`);
process.exitCode = violations.length > 0 ? 1 : 0;

/** With `cycles` an endless run in which no caller makes progress is an error. @param {Run} run @returns {Result} */
function check({ model, settings, cycles = false, isFull = false }) {
  // Compiling with -O2 takes longer than most searches, so only a long search is compiled so.
  const isLong = isFull && !settings.includes('MUT_');
  const name = cycles ? `${settings}, cycles` : settings;
  const defines = settings.split(' ').map((word) => `-D${word}`);
  const search = [cycles ? '-DNP' : '-DSAFETY', '-DNOFAIR'];
  const sizes = ['-DCOLLAPSE', '-DVECTORSZ=4096', `-DMEMLIM=${LIMIT_MIB}`];
  const options = ['-m2000000', isLong ? '-w24' : '-w20', ...(cycles ? ['-l'] : [])];
  const folder = mkdtempSync(join(tmpdir(), 'flock-process-model-'));
  try {
    call('spin', ['-a', ...defines, join(models, `${model}.pml`)], folder);
    call('gcc', [isLong ? '-O2' : '-O0', '-w', ...search, ...sizes, '-o', 'pan', 'pan.c'], folder);
    const { stdout, error } = spawnSync(join(folder, 'pan'), options, {
      cwd: folder,
      encoding: 'utf8',
      timeout: LIMIT_MS,
    });
    const result = error === undefined ? read(stdout) : unfinished(error.message);
    printRow(model, name, result, result.outcome === 'holds' ? 'holds' : `${result.outcome}: ${result.reason}`);
    return result;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {string} output what pan printed @returns {Result} */
function read(output) {
  const find = (/** @type {RegExp} */ pattern) => pattern.exec(output)?.[1] ?? '';
  const isComplete = !/out of memory|max search depth too small|Search not completed/.test(output);
  const errors = find(/errors: (\d+)/);
  const reason = find(/^pan:\d+: (.*?)(?: \(at depth.*)?$/m);
  const outcome = errors !== '' && errors !== '0' ? 'fails' : errors === '0' && isComplete ? 'holds' : 'not finished';
  return {
    states: find(/([\d.e+]+) states, stored/),
    depth: find(/depth reached (\d+)/),
    seconds: find(/elapsed time ([\d.e+]+)/),
    mib: find(/([\d.]+)\s+total actual memory usage/),
    outcome,
    reason: reason === '' ? output.trim().split('\n').slice(0, 2).join(' ') : reason,
  };
}

/** @param {string} reason @returns {Result} */
function unfinished(reason) {
  return { states: '', depth: '', seconds: '', mib: '', outcome: 'not finished', reason };
}

/** @param {string} command @param {readonly string[]} args @param {string} cwd */
function call(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`"${command}" cannot be run (npm run setup): ${error.message}`);
  if (status !== 0) throw new Error(`"${command} ${args.join(' ')}" failed\n${stdout}${stderr}`);
}

/** @param {string} model @param {string} settings @param {Omit<Result, 'outcome' | 'reason'>} result @param {string} outcome */
function printRow(model, settings, { states, depth, seconds, mib }, outcome) {
  const numbers = [states.padStart(10), depth.padStart(7), seconds.padStart(7), mib.padStart(9)].join(' ');
  console.log(`${model.padEnd(9)} ${settings.padEnd(36)} ${numbers}  ${outcome}`);
}
