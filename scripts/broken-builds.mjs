/**
 * `npm run campaign:broken`: does the campaign see what it is made to see? For each entry of test/campaign/broken-builds.json
 * one line of a copy of the sources is changed, the copy is compiled, and the row that is named must report a violation;
 * before, the unbroken copy must have none. The sources themselves are never touched.
 *
 * Words choose entries by row, breakage or file; `--share=0.02` is the campaign's own option, for all of them; `--lanes=1`
 * attacks in so many copies at a time (default 2).
 */
// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

/** @typedef {import('../test/campaign/broken-builds.js').BrokenBuild} BrokenBuild */
/** @typedef {'holds' | 'violated' | 'failed'} Word 'failed': neither the one nor the other, a build that does not compile say */
/** @typedef {{ word: Word, output: string, attempts: string, violation: string, seconds: number }} Outcome */

const root = fileURLToPath(new URL('..', import.meta.url));
const SEED = 1;
const DEFAULT_SHARE = 0.02;
/** Of the unbroken build: enough to see that nothing else makes the row fail here. The whole row is the campaign's to run. */
const CONTROL_SHARE = 0.02;
const TIMEOUT_MS = 300_000;
/** A broken build need not be a tidy one. */
const TSC = ['tsc', '-p', 'test/tsconfig.json', '--noUnusedLocals', 'false', '--noUnusedParameters', 'false'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { share: { type: 'string' }, lanes: { type: 'string', default: '2' } },
});

/** A copy of the sources, in which one attack is made at a time. */
class Copy {
  folder = mkdtempSync(join(tmpdir(), 'flock-process-broken-'));
  /** Undoes what is broken. */
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

  /** @returns {Promise<typeof import('../test/campaign/broken-builds.js')>} */
  async list() {
    const { status, output } = await this.#build();
    if (status !== 0) throw new Error(output);
    return await import(pathToFileURL(join(this.folder, 'build/test/campaign/broken-builds.js')).href);
  }

  /** @param {BrokenBuild | undefined} build @param {(text: string, build: BrokenBuild) => string} breakLine */
  change(build, breakLine) {
    this.#restore();
    if (build === undefined) return;
    const path = join(this.folder, build.file);
    const whole = readFileSync(path, 'utf8');
    const write = (/** @type {string} */ text) => {
      writeFileSync(path, text);
      this.#isBuilt = false;
    };
    write(breakLine(whole, build));
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
    // Some count only when all is over.
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
/** @type {Map<BrokenBuild | string, Outcome>} of an entry, and of a row with the unbroken build */
const outcomes = new Map();
let isInterrupted = false;
process.on('SIGINT', () => {
  isInterrupted = true;
});

const copies = Array.from({ length: Number(values.lanes) }, () => new Copy());
try {
  const [first] = copies;
  if (first === undefined) throw new Error('--lanes must be 1 or more');
  const { breakLine, readBrokenBuilds } = await first.list();
  const builds = readBrokenBuilds().filter(({ row, breaks, file }) => isChosen(`${row} ${breaks} ${file}`));
  const rows = [...new Set(builds.map(({ row }) => row))];
  /** @type {(BrokenBuild | string)[]} */
  const tasks = [...rows, ...builds];
  console.log(`${builds.length} broken builds of ${rows.length} rows, seed ${SEED}\n`);
  await Promise.all(
    copies.map(async (copy) => {
      for (let task = tasks.shift(); task !== undefined && !isInterrupted; task = tasks.shift()) {
        const build = typeof task === 'string' ? undefined : task;
        copy.change(build, breakLine);
        const share = Number(values.share ?? (build === undefined ? CONTROL_SHARE : (build.share ?? DEFAULT_SHARE)));
        const outcome = await copy.attack(build?.row ?? String(task), share);
        outcomes.set(task, outcome);
        tell(
          build === undefined ? `unbroken: ${task}` : `${build.breaks}: ${build.row}`,
          outcome,
          build ? 'violated' : 'holds',
        );
      }
    }),
  );
  summarise(rows, builds);
} finally {
  for (const copy of copies) copy.remove();
}

/** @param {string} text */
function isChosen(text) {
  return positionals.length === 0 || positionals.some((word) => text.includes(word));
}

/** @param {string} what @param {Outcome} outcome @param {Word} wanted */
function tell(what, { word, output, attempts, violation, seconds }, wanted) {
  const how = `${word}, ${attempts} attempts, ${seconds.toFixed(0)} s`;
  console.log(`${word === wanted ? '✔' : '✖'} ${what}: ${how}${violation && `: ${violation.slice(0, 160)}`}`);
  if (word !== wanted) console.log(output.slice(-3_000).replace(/^/gm, '    '));
}

/** In Markdown. @param {readonly string[]} rows @param {readonly BrokenBuild[]} builds */
function summarise(rows, builds) {
  console.log('\n| law | row | what is broken | file | attempts | what was noticed |\n|---|---|---|---|--:|---|');
  for (const build of builds) {
    const { word, attempts, violation } = outcomes.get(build) ?? { word: 'not run', attempts: '', violation: '' };
    const noticed = word === 'violated' ? violation.slice(0, 100).replaceAll('|', '\\|') : `**${word}**`;
    const { laws, row, breaks, file } = build;
    console.log(`| ${laws.join(', ')} | ${row} | ${breaks} | ${file} | ${attempts} | ${noticed} |`);
  }
  const noticed = builds.filter((build) => outcomes.get(build)?.word === 'violated').length;
  const failing = rows.filter((row) => outcomes.get(row)?.word !== 'holds').length;
  const { stdout } = spawnSync('git', ['-C', root, 'describe', '--always', '--dirty'], { encoding: 'utf8' });
  const commit = stdout?.trim() || 'unknown';
  const seconds = Math.round((performance.now() - began) / 1_000);
  console.log(`\n${rows.length} rows of the unbroken build, ${failing} fail; commit ${commit}, ${seconds} s`);
  console.log(`${builds.length} broken builds, ${noticed} noticed, ${builds.length - noticed} not`);
  process.exitCode = failing === 0 && noticed === builds.length ? 0 : 1;
}
