/** Many processes start one server at once: the time until all of them have it. */
// @ts-check
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { redisManager } from '../rows/starts.mjs';
import { endProgram, startProgram } from '../surroundings.mjs';
import { measureCurves, valuesOf } from './curves.mjs';

const MOST = 64;
const CONTENDERS = [1, 2, 4, 8, 16, 32, MOST];

/** 64 processes take long on a busy machine. */
const PATIENCE_MS = 60_000;

const NAME = 'until all have it';

/** @returns {Promise<import('./scale.mjs').Scale>} */
export async function scaleContenders() {
  const contender = fileURLToPath(new URL('contender.mjs', import.meta.url));
  const programs = Array.from({ length: MOST }, () =>
    startProgram(process.execPath, [contender], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  await Promise.all(programs.map((program) => once(program, 'message')));
  const axis = {
    panel: 'start() of one redis-server by many processes',
    along: 'starters',
    unit: 'ms',
    sizes: CONTENDERS,
  };
  const { curves, samples } = await measureCurves(axis, async (size) => ({
    [NAME]: await contend(programs.slice(0, size)),
  }));
  await Promise.all(programs.map((program) => endProgram(program)));
  const row = {
    what: `start() of one redis-server by ${MOST} processes at once`,
    unit: 'ms',
    subject: `${MOST} starters`,
    reference: 'one starter',
    samples: {
      [`${MOST} starters`]: valuesOf(samples.get(MOST), NAME),
      'one starter': valuesOf(samples.get(1), NAME),
    },
    limit: { times: MOST },
  };
  return { rows: [row], curves };
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
  if (pids.size !== 1) throw new Error(`${programs.length} starters: ${[...pids].join(', ')}`);
  return ms;
}
