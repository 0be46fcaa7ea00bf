/** The stack of examples/stack.mjs: its parts and the tool itself are killed at random instants. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunningProcess, killUnlessGone } from '../../helpers/evidence.js';
import { processesIn } from '../../helpers/outside-view.js';
import { projectRoot } from '../../helpers/paths.js';
import { type Program, startProgram } from '../../helpers/programs.js';
import type { Random } from '../../helpers/random.js';
import { freePort, temporaryFolder } from '../../helpers/resources.js';
import { eventually } from '../../helpers/waiting.js';
import type { Round, Row } from '../attack.js';

const PARTS = ['temporal', 'api', 'metrics'] as const;

const VICTIMS = { tool: 2, temporal: 1, api: 1, metrics: 1 };

const MOST_BLOWS = 3;

/** A whole `up` takes about a second. */
const BETWEEN_BLOWS_MS = 1_200;

const SAMPLE_MS = 15;

/** Enough even beside a start that hangs: an `up` and a `down` together take some three seconds. */
const LIMIT_MS = 60_000;

const PATH = [process.env.PATH, join(projectRoot, '.cache/temporal/bin')].join(delimiter);

export const stackRow: Row = {
  name: 'each part of examples/stack.mjs runs at most once, its `status` is correct and its `down` leaves nothing, whichever process is killed',
  laws: [1, 2, 5, 6],
  attempts: 50,
  attack: (attack) => attack.rounds((round) => killStack(round, attack.random)),
};

async function killStack(round: Round, random: Random): Promise<void> {
  const folder = temporaryFolder(round);
  const stateDir = join(folder, 'state');
  const port = await freePort();
  const program = installExample(folder);
  round.after(() => Object.values(partsOf(stateDir)).flat().forEach(killUnlessGone));
  const tool = (...words: string[]) => {
    const args = [program, ...words, `--state-dir=${stateDir}`, `--port=${port}`];
    return startProgram(round, process.execPath, args, { env: { ...process.env, PATH } });
  };
  const watch = watchForTwo(round, stateDir);
  let up = tool('up');
  for (let blows = Math.ceil(random.between(0, MOST_BLOWS)); blows > 0; blows -= 1) {
    await delay(random.between(0, BETWEEN_BLOWS_MS));
    const victim = random.weighted(VICTIMS);
    if (victim === 'tool') await killed(up);
    else await killPart(stateDir, victim);
    if (!up.isAlive) up = tool('up');
  }
  await killed(up);
  await assertTold(await finished(tool('status')), stateDir);
  // A Temporal that is killed while it creates its database cannot read that database any more; `reset` is for that
  // case.
  const first = await finished(tool('up'));
  if (first.stderr.includes('no such table')) await succeeded(() => tool('reset'));
  await succeeded(() => tool('up'));
  await succeeded(() => tool('up'));
  for (const [name, pids] of Object.entries(partsOf(stateDir))) assert.equal(pids.length, 1, `${name}: [${pids}]`);
  assert.equal((await assertTold(await finished(tool('status')), stateDir)).exitCode, 0);
  await succeeded(() => tool('down'));
  assert.deepEqual(processesIn(stateDir), []);
  assert.equal((await assertTold(await finished(tool('status')), stateDir)).exitCode, 3);
  watch.assertNeverTwo();
}

/** Copies the example next to the library as it is compiled for the tests. */
function installExample(folder: string): string {
  const library = join(folder, 'node_modules/flock-process');
  mkdirSync(library, { recursive: true });
  writeFileSync(
    join(library, 'index.mjs'),
    `export * from ${JSON.stringify(join(projectRoot, 'build/src/index.js'))};\n`,
  );
  writeFileSync(join(library, 'package.json'), '{ "exports": "./index.mjs" }');
  const program = join(folder, 'stack.mjs');
  copyFileSync(join(projectRoot, 'examples/stack.mjs'), program);
  return program;
}

async function killed(program: Program): Promise<void> {
  program.kill();
  await program.exited;
}

async function killPart(stateDir: string, name: (typeof PARTS)[number]): Promise<void> {
  const pids = partsOf(stateDir)[name];
  pids.forEach(killUnlessGone);
  await eventually(`${name} has ended`, () => !pids.some(isRunningProcess));
}

async function finished(program: Program) {
  return await program.ended({ withinMs: LIMIT_MS });
}

/**
 * Calls again if the call fails: Temporal chooses five of its six ports itself, and once in a while loses one to
 * another process.
 */
async function succeeded(call: () => Program): Promise<void> {
  let told = await finished(call());
  if (told.exitCode !== 0 && told.stderr.includes('address already in use')) told = await finished(call());
  assert.equal(told.exitCode, 0, `${told.stdout}${told.stderr}`);
}

/** Requires that each line of a status names the true state, and the PID of each part that runs. */
async function assertTold<Told extends { stdout: string; stderr: string }>(
  told: Told,
  stateDir: string,
): Promise<Told> {
  const parts = partsOf(stateDir);
  for (const name of PARTS) {
    const line = told.stdout.split('\n').find((text) => text.startsWith(`${name} `)) ?? `no line: ${told.stderr}`;
    const [pid] = parts[name];
    if (pid === undefined) assert.match(line, /^\S+ +stopped\b/, line);
    else
      assert.match(line, new RegExp(`^\\S+ +(running|starting|unhealthy)\\b.* PID ${pid}\\b`), `PID ${pid}: ${line}`);
  }
  return told;
}

/** The PIDs of each part, from the part's own log. */
function partsOf(stateDir: string): Record<(typeof PARTS)[number], number[]> {
  const pids = processesIn(stateDir).filter((pid) => pid !== process.pid);
  const writers = (name: string) => pids.filter((pid) => outputOf(pid) === join(stateDir, 'logs', `${name}.log`));
  return { temporal: writers('temporal'), api: writers('api'), metrics: writers('metrics') };
}

function outputOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/fd/1`);
  } catch {
    return undefined; // ENOENT: the log is gone
  }
}

function watchForTwo(round: Round, stateDir: string): { assertNeverTwo(): void } {
  const seen: string[] = [];
  const timer = setInterval(() => {
    for (const [name, pids] of Object.entries(partsOf(stateDir))) {
      if (pids.length > 1) seen.push(`${name}: ${pids.join(' and ')}`);
    }
  }, SAMPLE_MS);
  round.after(() => clearInterval(timer));
  return { assertNeverTwo: () => assert.deepEqual(seen, [], 'parts that were there twice') };
}
