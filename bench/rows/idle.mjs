/** What it costs to wait for a lock and to watch a process, with the addon and through each helper. */
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

/** By this time a helper runs, and a supervisor has made its first check. */
const SETTLED_MS = 1_500;

const TICK_MS = 10;

const MODES = ['addon', 'perl', 'flock(1)'];

/** @typedef {(mode: string) => Promise<{ pid: number, end: () => Promise<unknown> }>} Idler */
/** @typedef {{ what: string, mode: string } & Awaited<ReturnType<Idler>>} Subject */

/**
 * Measures all subjects at the same time, because each takes a hundredth of a core, and in one round, because 20 s of an idle process
 * are as good as many rounds.
 * @returns {Promise<import('../budgets.mjs').Row[]>}
 */
export async function measureIdle() {
  const pm2 = await Pm2.connect();
  /** @type {Subject[]} */
  const subjects = [];
  try {
    for (const [what, idler] of Object.entries({ 'waiting waitForLock': waiting, 'idle supervisor': supervising })) {
      for (const mode of MODES) subjects.push({ what: `${what}, ${mode}`, mode, ...(await idler(mode)) });
    }
    await delay(SETTLED_MS);
    const daemon = { pid: pm2.daemonPid };
    const used = await percentsUsed([...subjects, daemon], WATCHED_MS);
    const peers = { "pm2's daemon": [used.get(daemon)?.percent ?? Number.NaN] };
    const rows = subjects.map((subject) => ({
      what: subject.what,
      unit: '% of a core',
      subject: subject.mode,
      samples: { [subject.mode]: [used.get(subject)?.percent ?? Number.NaN], ...peers },
      limit: { atMost: 1 },
    }));
    const starters = subjects.filter((subject) => used.get(subject)?.hasStartedProcesses !== false).length;
    const what = 'of these six, those that start a process while they are idle';
    return [...rows, { what, unit: 'of 6', subject: 'all', samples: { all: [starters] }, limit: { atMost: 0 } }];
  } finally {
    await Promise.all(subjects.map(({ end }) => end()));
    await pm2.end();
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

/** Supervises a server that another process has started: the exit of its own child would be an event. @type {Idler} */
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

/** A PATH with one helper and the server. @param {string} mode */
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
 * The processor time of each process, with that of its living children and its ended ones.
 * @template {{ pid: number }} T
 * @param {readonly T[]} processes
 * @param {number} ms
 * @returns {Promise<Map<T, { percent: number, hasStartedProcesses: boolean }>>}
 */
async function percentsUsed(processes, ms) {
  const before = processes.map(({ pid }) => lookAt(pid));
  const began = performance.now();
  await delay(ms);
  return new Map(
    processes.map((process, index) => {
      const [was, is] = [before[index], lookAt(process.pid)];
      if (was === undefined) throw new Error('no look before');
      const percent = (100 * (is.usedMs - was.usedMs)) / (performance.now() - began);
      return [process, { percent, hasStartedProcesses: is.children !== was.children || is.faults !== was.faults }];
    }),
  );
}

/** @param {number} pid */
function lookAt(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
  const pids = children.split(' ').filter(Boolean).map(Number);
  // utime, stime, cutime, cstime: the latter two are the times of the children that have ended.
  const ticks = [...fieldsOf(pid, 11, 15), ...pids.flatMap((child) => fieldsOf(child, 11, 13))];
  // cminflt: every child that has ended has had page faults, so each of them is noticed.
  const [faults] = fieldsOf(pid, 8, 9);
  return { usedMs: ticks.reduce((sum, one) => sum + one) * TICK_MS, children, faults };
}

/** Numbers of /proc/PID/stat, counted from its third field. @param {number} pid @param {number} from @param {number} to */
function fieldsOf(pid, from, to) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(from, to).map(Number);
}
