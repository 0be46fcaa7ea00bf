/** Calls on a process whose log is large: a sparse file of that size with lines at its end. */
// @ts-check
import { appendFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EarlyExitError, ProcessManager } from 'flock-process';
import { timed } from '../measure.mjs';
import { makeFolder } from '../surroundings.mjs';
import { measureCurves, valuesOf } from './curves.mjs';

const MOST_MIB = 3 * 1024;
const SIZES_MIB = [1, 100, 1024, MOST_MIB];

/** More lines than any tail returns. */
const LINES = 'a line of a server that says what it does, as most of them do all the time\n'.repeat(4_000);

const READY = 'start() with a ready line';

/** @returns {Promise<import('./scale.mjs').Scale>} */
export async function scaleLog() {
  const axis = { panel: 'calls with a large log', along: 'MiB of log', unit: 'ms', sizes: SIZES_MIB, turns: 9 };
  const { curves, samples } = await measureCurves(axis, measureOne);
  const rows = [...Object.keys(samples.get(MOST_MIB)?.[0] ?? {})].map((subject) => ({
    what: `${subject}, log of 3 GiB`,
    unit: 'ms',
    subject,
    reference: 'log of 1 MiB',
    samples: { [subject]: valuesOf(samples.get(MOST_MIB), subject), 'log of 1 MiB': valuesOf(samples.get(1), subject) },
    limit: { plus: 5 },
  }));
  return { rows, curves };
}

/** @param {number} mebibytes */
async function measureOne(mebibytes) {
  const stateDir = join(makeFolder('log'), 'state');
  /** @param {string} script */
  const manager = (script) =>
    new ProcessManager({
      name: 'logger',
      command: '/bin/sh',
      args: ['-c', script],
      stateDir,
      readyLine: 'serving',
      logRotation: { overBytes: Number.MAX_SAFE_INTEGER },
      stopSignal: 'SIGKILL',
    });
  const server = manager('echo serving; exec sleep 600');
  const { logFile } = server.spec;
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, '');
  truncateSync(logFile, mebibytes * 2 ** 20);
  appendFileSync(logFile, `\n${LINES}`);
  const start = await timed(() => server.start());
  const tail = await timed(async () => expect(await server.logTail(20), 20));
  const follow = await timed(() => followToLastLine(server));
  await server.stop();
  const failed = await timed(async () => {
    const error = await manager('echo broken; exit 1')
      .start()
      .catch((reason) => reason);
    if (!(error instanceof EarlyExitError) || !error.logTail.includes('broken')) throw error;
  });
  return {
    [READY]: start,
    'logTail()': tail,
    'followLog() to the last line': follow,
    'start() that fails, and says why': failed,
  };
}

/** @param {ProcessManager} server */
async function followToLastLine(server) {
  for await (const line of server.followLog({ lines: 10 })) if (line === 'serving') return;
}

/** @param {readonly string[]} lines @param {number} count */
function expect(lines, count) {
  if (lines.length !== count || lines.at(-1) !== 'serving')
    throw new Error(`the tail of the log is ${lines.join('\n')}`);
}
