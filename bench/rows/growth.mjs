/** How cost grows: with the managers of one process, and with the processes that start the same thing at once. */
// @ts-check
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProcessManager } from 'flock-process';
import { median, timed } from '../measure.mjs';
import { endProgram, makeFolder, startProgram } from '../surroundings.mjs';
import { redisManager } from './starts.mjs';

const MANAGERS = [1, 10, 50, 200];
const CONTENDERS = [1, 2, 4, 8, 16, 32, 64];

/** How often the sizes take turns; a turn before them is not counted. */
const TURNS = 3;

/** On a busy machine 64 processes take their time. */
const PATIENCE_MS = 60_000;

/**
 * @typedef {object} Curve
 * @property {string} what
 * @property {string} along what grows
 * @property {string} unit
 * @property {{ size: number, value: number }[]} points
 */

/** @returns {Promise<Curve[]>} */
export async function measureGrowth() {
  return [...(await growManagers()), ...(await growContenders())];
}

async function growManagers() {
  const along = 'managers in one process';
  const what = ['start() of all at once, each', 'status() of all at once, each', 'stop() of all at once, each'];
  const curves = await measureCurves(MANAGERS, async (size) => {
    const stateDir = join(makeFolder('growth'), 'state');
    const managers = Array.from({ length: size }, (_, index) => sleepManager(`sleep-${index}`, stateDir));
    const start = await timedEach(managers, (manager) => manager.start());
    const status = await timedEach(managers, (manager) => manager.status());
    const stop = await timedEach(managers, (manager) => manager.stop());
    return [start, status, stop];
  });
  return curves.map((points, index) => ({ what: what[index] ?? '', along, unit: 'ms', points }));
}

/** Ready as soon as it is there: its own time is not what is measured. @param {string} name @param {string} stateDir */
function sleepManager(name, stateDir) {
  const isHealthy = () => true;
  return new ProcessManager({ name, command: 'sleep', args: ['600'], stateDir, isHealthy, stopSignal: 'SIGKILL' });
}

/** @param {readonly ProcessManager[]} managers @param {(manager: ProcessManager) => Promise<unknown>} call */
async function timedEach(managers, call) {
  return (await timed(() => Promise.all(managers.map(call)))) / managers.length;
}

async function growContenders() {
  const contender = fileURLToPath(new URL('../contender.mjs', import.meta.url));
  const programs = Array.from({ length: Math.max(...CONTENDERS) }, () =>
    startProgram(process.execPath, [contender], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  await Promise.all(programs.map((program) => once(program, 'message')));
  const [points = []] = await measureCurves(CONTENDERS, async (size) => [await contend(programs.slice(0, size))]);
  await Promise.all(programs.map((program) => endProgram(program)));
  return [{ what: 'start() of one redis-server, until all have it', along: 'contenders', unit: 'ms', points }];
}

/** @param {readonly import('node:child_process').ChildProcess[]} programs @returns {Promise<number>} milliseconds */
async function contend(programs) {
  const manager = await redisManager();
  const { name, command, args, stateDir, port } = manager.spec;
  const answers = programs.map((program) => once(program, 'message'));
  const began = performance.now();
  const spec = { name, command, args, stateDir, port, startTimeoutMs: PATIENCE_MS };
  for (const program of programs) program.send(spec);
  const pids = new Set((await Promise.all(answers)).map(([pid]) => pid));
  const ms = performance.now() - began;
  await manager.stop();
  if (pids.size !== 1) throw new Error(`${programs.length} contenders: ${[...pids].join(', ')}`);
  return ms;
}

/**
 * @param {readonly number[]} sizes
 * @param {(size: number) => Promise<number[]>} measure one value for each curve
 * @returns {Promise<{ size: number, value: number }[][]>} each curve's points: medians
 */
async function measureCurves(sizes, measure) {
  /** @type {Map<number, number[][]>} */
  const results = new Map(sizes.map((size) => [size, []]));
  for (let turn = 0; turn <= TURNS; turn += 1) {
    for (const [size, values] of results) {
      const measured = await measure(size);
      if (turn > 0) values.push(measured);
    }
  }
  const curves = results.values().next().value?.[0] ?? [];
  return curves.map((_, curve) =>
    sizes.map((size) => ({
      size,
      value: median((results.get(size) ?? []).map((values) => values[curve] ?? Number.NaN)),
    })),
  );
}
