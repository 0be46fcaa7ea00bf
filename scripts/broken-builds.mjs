/**
 * `npm run campaign:broken`: does the campaign see what it is made to see? For each entry of test/campaign/broken-builds.json
 * one line of a copy of the sources is changed, the copy is compiled, and the row that is named must report a violation.
 * The sources themselves are never touched. Words choose entries; `--share=0.02` is the campaign's own option.
 */
// @ts-check
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/**
 * `row` is a part of one row's name, which chooses it; `line` is a whole line of `file` as it stands there, without its
 * indentation, and `broken` what stands there instead. `share` is how much of the campaign it takes to notice.
 * @typedef {{ laws: number[], row: string, breaks: string, file: string, line: string, broken: string, share?: number }} Broken
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const DEFAULT_SHARE = 0.02;
const TIMEOUT_MS = 600_000;

const { values, positionals } = parseArgs({ allowPositionals: true, options: { share: { type: 'string' } } });
/** @type {Broken[]} */
const all = JSON.parse(readFileSync(join(root, 'test/campaign/broken-builds.json'), 'utf8'));
const chosen = all.filter(
  ({ row, breaks, file }) =>
    positionals.length === 0 || positionals.some((word) => `${row} ${breaks} ${file}`.includes(word)),
);

const copy = mkdtempSync(join(tmpdir(), 'flock-process-broken-'));
chmodSync(copy, 0o755); // some rows run as another user
let failures = 0;
try {
  copyTree();
  const rows = [...new Set(chosen.map(({ row }) => row))];
  for (const row of rows) tell(`unbroken: ${row}`, attack(row, shareOf(row)), 'holds');
  for (const entry of chosen) {
    const restore = breakOneLine(entry);
    tell(
      `law ${entry.laws.join(', ')}: ${entry.breaks} (${entry.row})`,
      attack(entry.row, shareOf(entry.row)),
      'fails',
    );
    restore();
  }
} finally {
  rmSync(copy, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`\n${chosen.length} broken builds`);
process.exitCode = failures === 0 ? 0 : 1;

function copyTree() {
  for (const name of ['src', 'test', 'scripts', 'package.json', 'tsconfig.json']) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  for (const name of ['node_modules', '.cache']) {
    mkdirSync(join(root, name), { recursive: true });
    symlinkSync(join(root, name), join(copy, name));
  }
}

/** @param {Broken} entry @returns {() => void} puts the line back */
function breakOneLine({ file, line, broken }) {
  const path = join(copy, file);
  const whole = readFileSync(path, 'utf8');
  const lines = whole.split('\n');
  const found = lines.flatMap((text, index) => (text.trim() === line ? [index] : []));
  const [index] = found;
  if (found.length !== 1 || index === undefined) throw new Error(`${file} has ${found.length} lines "${line}"`);
  lines[index] = broken;
  writeFileSync(path, lines.join('\n'));
  return () => writeFileSync(path, whole);
}

/** @param {string} row @returns {number} the same for the unbroken build as for the broken ones */
function shareOf(row) {
  if (values.share !== undefined) return Number(values.share);
  return Math.max(...all.filter((entry) => entry.row === row).map(({ share = DEFAULT_SHARE }) => share));
}

/**
 * Runs one row of the campaign in the copy.
 * @param {string} row @param {number} share @returns {{ outcome: 'holds' | 'fails' | 'broken', output: string }}
 */
function attack(row, share) {
  const built = run('npx', [
    'tsc',
    '-p',
    'test/tsconfig.json',
    '--noUnusedLocals',
    'false',
    '--noUnusedParameters',
    'false',
  ]);
  if (built.status !== 0) return { outcome: 'broken', output: built.stdout };
  cpSync(join(copy, 'src/process/tether.sh'), join(copy, 'build/src/process/tether.sh'));
  const { stdout, stderr, status } = run('node', ['scripts/campaign.mjs', '--seed=1', `--share=${share}`, row]);
  const output = stdout + stderr;
  if (status === 0) return { outcome: 'holds', output };
  return { outcome: status === 1 && output.includes('VIOLATION') ? 'fails' : 'broken', output };
}

/** @param {string} command @param {readonly string[]} args */
function run(command, args) {
  return spawnSync(command, args, {
    cwd: copy,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    maxBuffer: 2 ** 28,
  });
}

/** @param {string} what @param {ReturnType<typeof attack>} attacked @param {'holds' | 'fails'} wanted */
function tell(what, { outcome, output }, wanted) {
  const good = outcome === wanted;
  if (!good) failures += 1;
  const violation = output.match(/VIOLATION .{0,160}/)?.[0] ?? '';
  console.log(`${good ? '✔' : '✖'} ${what}: ${outcome}${outcome === 'fails' ? `; ${violation}` : ''}`);
  if (!good) console.log(output.slice(-3000));
}
