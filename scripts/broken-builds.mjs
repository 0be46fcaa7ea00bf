/**
 * `npm run campaign:broken`: does the campaign notice what it was written to notice? For each break of scripts/breaks.mjs a copy of the
 * sources is changed and compiled, and each row that the break names must report a violation; before that, the row must report none for
 * the unchanged copy. The sources themselves are never touched. All patterns are checked first: one that matches nothing or more than
 * once ends the command before anything runs. `--check`, which `npm run lint` uses, does no more than that.
 *
 * Words choose breaks by row, breakage or file; `--share=0.02` replaces the share of the campaign that each break names; `--lanes=1`
 * sets in how many copies the attacks run side by side (default 2).
 */
// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { applyBreak, breaks, findWrongPatterns } from './breaks.mjs';

/** @typedef {import('./breaks.mjs').Break} Break */
/** @typedef {{ build: Break | undefined, row: string, share: number }} Task an unchanged build has no break */
/** @typedef {'holds' | 'violated' | 'failed'} Word 'failed' stands for every other outcome, for example a build that does not compile */
/** @typedef {{ word: Word, output: string, attempts: string, violation: string, seconds: number }} Outcome */

const root = fileURLToPath(new URL('..', import.meta.url));
const SEED = 1;
/** The share for the unchanged build, enough to see that nothing else makes the row fail here. The campaign runs the whole row. */
const CONTROL_SHARE = 0.02;
const TIMEOUT_MS = 300_000;
/** A break may leave variables unused, which must not fail the compilation. */
const TSC = ['tsc', '-p', 'test/tsconfig.json', '--noUnusedLocals', 'false', '--noUnusedParameters', 'false'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { check: { type: 'boolean' }, share: { type: 'string' }, lanes: { type: 'string', default: '2' } },
});

const wrong = findWrongPatterns();
if (wrong.length > 0) {
  console.error(`Wrong patterns in scripts/breaks.mjs:\n${wrong.map((each) => `  ${each}`).join('\n')}`);
  process.exit(1);
}
if (values.check) process.exit();

/** A copy of the sources, in which one attack runs at a time. */
class Copy {
  folder = mkdtempSync(join(tmpdir(), 'flock-process-broken-'));
  /** Undoes the break. */
  #restore = () => {};
  #isBuilt = false;

  constructor() {
    chmodSync(this.folder, 0o755); // some rows run as another user
    for (const name of ['src', 'test', 'scripts', 'examples', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, name), join(this.folder, name), { recursive: true });
    }
    for (const name of ['node_modules', '.cache']) {
      mkdirSync(join(root, name), { recursive: true });
      symlinkSync(join(root, name), join(this.folder, name));
    }
  }

  /** @returns {Promise<string[]>} */
  async rowNames() {
    const { status, output } = await this.#build();
    if (status !== 0) throw new Error(output);
    const url = pathToFileURL(join(this.folder, 'build/test/campaign/rows.js')).href;
    /** @type {typeof import('../test/campaign/rows.js')} */
    const { groups } = await import(url);
    return Object.values(groups).flatMap((rows) => rows.map(({ name }) => name));
  }

  /** @param {Break | undefined} build */
  change(build) {
    this.#restore();
    if (build === undefined) return;
    const path = join(this.folder, build.file);
    const whole = readFileSync(path, 'utf8');
    const write = (/** @type {string} */ text) => {
      writeFileSync(path, text);
      this.#isBuilt = false;
    };
    write(applyBreak(whole, build));
    this.#restore = () => {
      write(whole);
      this.#restore = () => {};
    };
  }

  /** @param {string} row @param {number} share @returns {Promise<Outcome>} */
  async attack(row, share) {
    const began = performance.now();
    const built = await this.#build();
    const options = [`--seed=${SEED}`, `--share=${share}`, '--enough=1', `--row=${row}`];
    const { status, output } = built.status === 0 ? await this.#run('node', 'scripts/campaign.mjs', ...options) : built;
    const [, text = ''] = output.match(/^ {4}VIOLATION (.*(?:\n(?! {4}VIOLATION) {4,}.*){0,12})/m) ?? [];
    const violation = text.replaceAll(this.folder, '').replace(/\s+/g, ' ');
    // Some rows count their attempts only at the end.
    const attempts = output.match(/: ([1-9]\d*) attempts, \d+ violations, /)?.[1] ?? '–';
    const word = status === 0 ? 'holds' : violation === '' ? 'failed' : 'violated';
    return { word, output, attempts, violation, seconds: (performance.now() - began) / 1_000 };
  }

  remove() {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #build() {
    if (this.#isBuilt) return { status: 0, output: '' };
    const embedded = await this.#run('node', 'scripts/embed-watcher.mjs');
    const built = embedded.status === 0 ? await this.#run('npx', ...TSC) : embedded;
    this.#isBuilt = built.status === 0;
    return built;
  }

  /** @param {string} command @param {string[]} args */
  async #run(command, ...args) {
    const child = spawn(command, args, { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    const [status, signal] = await once(child, 'close');
    return { status, output: signal === null ? output : `${output}\nended by ${signal}` };
  }
}

const began = performance.now();
/** @type {Map<Task, Outcome>} */
const outcomes = new Map();
let isInterrupted = false;
process.on('SIGINT', () => {
  isInterrupted = true;
});

const copies = Array.from({ length: Number(values.lanes) }, () => new Copy());
try {
  const [first] = copies;
  if (first === undefined) throw new Error('--lanes must be 1 or more');
  const { controls, attacks } = tasksFor(await first.rowNames());
  const tasks = [...controls, ...attacks];
  console.log(`${attacks.length} attacks on broken builds, ${controls.length} rows, seed ${SEED}\n`);
  await Promise.all(
    copies.map(async (copy) => {
      for (let task = tasks.shift(); task !== undefined && !isInterrupted; task = tasks.shift()) {
        const { build, row, share } = task;
        copy.change(build);
        const outcome = await copy.attack(row, share);
        outcomes.set(task, outcome);
        report(`${build?.breaks ?? 'unchanged'}: ${row}`, outcome, build ? 'violated' : 'holds');
      }
    }),
  );
  summarise(controls, attacks);
} finally {
  for (const copy of copies) copy.remove();
}

/**
 * The chosen attacks in the order of the rows, and for each of their rows one attack on the unchanged build.
 * @param {readonly string[]} names the names of all rows
 * @throws Error when not exactly one row has a part of a name, or when a row has no break
 */
function tasksFor(names) {
  const all = breaks.flatMap((build) =>
    Object.entries(build.rows).map(([part, share]) => ({ build, row: wholeName(part, names), share })),
  );
  const missing = names.filter((name) => !all.some(({ row }) => row === name));
  if (missing.length > 0) throw new Error(`no break for the rows ${missing.map((name) => `"${name}"`).join(', ')}`);
  const attacks = all
    .filter(({ build, row }) => isChosen(`${row} ${build.breaks} ${build.file}`))
    .map((task) => ({ ...task, share: Number(values.share ?? task.share) }))
    .sort((one, other) => names.indexOf(one.row) - names.indexOf(other.row));
  const share = Number(values.share ?? CONTROL_SHARE);
  const controls = [...new Set(attacks.map(({ row }) => row))].map((row) => ({ build: undefined, row, share }));
  return { controls, attacks };
}

/** @param {string} part @param {readonly string[]} names */
function wholeName(part, names) {
  if (names.includes(part)) return part;
  const found = names.filter((name) => name.includes(part));
  const [name] = found;
  if (name === undefined || found.length > 1) throw new Error(`${found.length} rows with "${part}"`);
  return name;
}

/** @param {string} text */
function isChosen(text) {
  return positionals.length === 0 || positionals.some((word) => text.includes(word));
}

/** @param {string} what @param {Outcome} outcome @param {Word} wanted */
function report(what, { word, output, attempts, violation, seconds }, wanted) {
  const how = `${word}, ${attempts} attempts, ${seconds.toFixed(0)} s`;
  console.log(`${word === wanted ? '✔' : '✖'} ${what}: ${how}${violation && `: ${violation.slice(0, 160)}`}`);
  if (word !== wanted) console.log(output.slice(-3_000).replace(/^/gm, '    '));
}

/** The summary in Markdown. @param {readonly Task[]} controls @param {readonly (Task & { build: Break })[]} attacks */
function summarise(controls, attacks) {
  console.log('\n| law | row | what is broken | file | attempts | what was noticed |\n|---|---|---|---|--:|---|');
  for (const attack of attacks) {
    const { word, attempts, violation } = outcomes.get(attack) ?? { word: 'not run', attempts: '', violation: '' };
    const noticed = word === 'violated' ? violation.slice(0, 100).replaceAll('|', '\\|') : `**${word}**`;
    const { laws, breaks, file } = attack.build;
    console.log(`| ${laws.join(', ')} | ${attack.row} | ${breaks} | ${file} | ${attempts} | ${noticed} |`);
  }
  const noticed = attacks.filter((attack) => outcomes.get(attack)?.word === 'violated').length;
  const failing = controls.filter((control) => outcomes.get(control)?.word !== 'holds').length;
  const { stdout } = spawnSync('git', ['-C', root, 'describe', '--always', '--dirty'], { encoding: 'utf8' });
  const commit = stdout?.trim() || 'unknown';
  const seconds = Math.round((performance.now() - began) / 1_000);
  console.log(`\n${controls.length} rows of the unchanged build, ${failing} fail; commit ${commit}, ${seconds} s`);
  console.log(`${attacks.length} attacks on broken builds, ${noticed} noticed, ${attacks.length - noticed} not`);
  process.exitCode = failing === 0 && noticed === attacks.length ? 0 : 1;
}
