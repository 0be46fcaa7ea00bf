/** What it costs to do nothing: to wait for a lock, and to watch a process, with the addon and through each helper. */
// @ts-check
import { once } from 'node:events';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { acquireLock, ProcessManager } from 'flock-process';
import { freePort } from '../../scripts/free-port.mjs';
import { Pm2 } from '../pm2.mjs';
import { endProgram, eventually, makeFolder, redisArguments, startProgram } from '../surroundings.mjs';

const WATCHED_MS = 20_000;

/** A helper is started, and a supervisor has made its first look. */
const SETTLED_MS = 1_500;

const TICK_MS = 10;

const MODES = ['addon', 'perl', 'flock(1)'];

/** @typedef {(mode: string) => Promise<{ pid: number, end: () => Promise<unknown> }>} Idler */

/** One round: 20 s of one that does nothing are as good as many. @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureIdle() {
  const pm2 = await Pm2.connect();
  const daemon = [await percentUsed(pm2.daemonPid, WATCHED_MS)];
  await pm2.end();
  /** @type {import('../budgets.mjs').Row[]} */
  const rows = [];
  for (const [what, idler] of Object.entries({ 'waiting waitForLock': waiting, 'idle supervisor': supervising })) {
    for (const mode of MODES) {
      const samples = { [mode]: [await measureOne(idler, mode)], "pm2's daemon": daemon };
      rows.push({ what: `${what}, ${mode}`, unit: '% of a core', subject: mode, samples, limit: { atMost: 1 } });
    }
  }
  return rows;
}

/** @param {Idler} idler @param {string} mode */
async function measureOne(idler, mode) {
  const { pid, end } = await idler(mode);
  try {
    await delay(SETTLED_MS);
    return await percentUsed(pid, WATCHED_MS);
  } finally {
    await end();
  }
}

/** @type {Idler} */
async function waiting(mode) {
  const path = join(makeFolder('idle'), 'x.lock');
  const lock = acquireLock(path);
  const program = startIdler(mode, 'wait', path);
  await once(program, 'message');
  return {
    pid: Number(program.pid),
    end: async () => {
      await endProgram(program);
      lock.release();
    },
  };
}

/** Of a server that somebody else has started: its own child's exit would be an event. @type {Idler} */
async function supervising(mode) {
  const port = await freePort();
  const stateDir = join(makeFolder('idle'), 'state');
  const spec = { name: 'redis', command: 'redis-server', args: redisArguments(port), port, stateDir };
  const manager = new ProcessManager(spec);
  await manager.start();
  const program = startIdler(mode, 'supervise', JSON.stringify(spec));
  await eventually('supervisor that watches', async () => {
    program.send('state?');
    const [state] = await once(program, 'message');
    return state === 'watching' ? state : undefined;
  });
  return {
    pid: Number(program.pid),
    end: async () => {
      await endProgram(program);
      await manager.stop();
    },
  };
}

/** @param {string} mode @param {string[]} words */
function startIdler(mode, ...words) {
  const program = fileURLToPath(new URL('../idler.mjs', import.meta.url));
  const options = mode === 'addon' ? [] : ['--no-addons'];
  const env = mode === 'addon' ? process.env : { ...process.env, PATH: pathWithHelper(mode) };
  return startProgram(process.execPath, [...options, program, ...words], {
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
}

/** A PATH on which there is one helper, and the server. @param {string} mode */
function pathWithHelper(mode) {
  const folder = makeFolder('helper');
  for (const name of [mode === 'perl' ? 'perl' : 'flock', 'redis-server'])
    symlinkSync(whereIs(name), join(folder, name));
  return folder;
}

/** @param {string} name */
function whereIs(name) {
  const paths = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name));
  const found = paths.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${name} is not on PATH`);
  return found;
}

/**
 * Processor time of the process, of the children that it has, and of those that it had.
 * @param {number} pid
 * @param {number} ms
 */
async function percentUsed(pid, ms) {
  const before = usedMs(pid);
  const began = performance.now();
  await delay(ms);
  return (100 * (usedMs(pid) - before)) / (performance.now() - began);
}

/** @param {number} pid */
function usedMs(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  return [ticksOf(pid, 4), ...children.map((child) => ticksOf(child, 2))].reduce((sum, one) => sum + one) * TICK_MS;
}

/** utime, stime, cutime, cstime. @param {number} pid @param {number} count */
function ticksOf(pid, count) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 11 + count).reduce((sum, field) => sum + Number(field), 0);
}
