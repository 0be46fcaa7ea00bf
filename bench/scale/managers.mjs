/** Many managers, supervisors and stops in one process. */
// @ts-check
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { endProgram, startProgram } from '../surroundings.mjs';
import { measureCurves, valuesOf } from './curves.mjs';

const SIZES = {
  whole: { manage: [1, 10, 100, 1_000], supervise: [1, 20, 200], stop: [1, 10, 100, 2_000] },
  short: { manage: [1, 10, 100, 200], supervise: [1, 20, 100], stop: [1, 10, 100, 2_000] },
};

/** The limit of a stop, 2 × stopTimeoutMs + 5 s, with the default stopTimeoutMs of 10 s. */
const STOP_BOUND_MS = 25_000;

const NAMES = {
  start: 'start()',
  status: 'status()',
  stop: 'stop()',
  blocked: 'while they start',
  crash: 'crash → ready again',
  idle: 'idle',
  slowest: 'the slowest',
};

/** @typedef {{ what: 'manage' | 'supervise' | 'stop', sizes: readonly number[], along: string }} Task */

/** @param {{ isShort: boolean }} options @returns {Promise<import('./scale.mjs').Scale>} */
export async function scaleManagers({ isShort }) {
  const { manage, supervise, stop } = isShort ? SIZES.short : SIZES.whole;
  const managed = await measure({ what: 'manage', sizes: manage, along: 'managers in one process' });
  const supervised = await measure({
    what: 'supervise',
    sizes: supervise,
    along: 'supervised in one process',
  });
  const stops = await measure({ what: 'stop', sizes: stop, along: 'stop() calls' });
  return {
    curves: [
      ...managed.draw('many managers side by side, a call', 'ms', ['start', 'status', 'stop']),
      ...managed.draw('event loop kept waiting at most', 'ms', ['blocked']),
      ...supervised.draw('supervised, all crash at once, each', 'ms', ['crash']),
      ...supervised.draw('supervised and idle, all of them', '% of a core', ['idle']),
      ...stops.draw('stop() of one server side by side', 'ms', ['slowest']),
    ],
    rows: [
      ...managed.tell(`${manage.at(-1)} managers side by side, each`, 'ms', ['start', 'status', 'stop']),
      ...managed.tell(`${manage.at(-1)} managers, memory of each in its process`, 'KiB', ['memory']),
      ...managed.bound(`${manage.at(-1)} stop() side by side, of as many servers`),
      ...stops.bound(`${stop.at(-1)} stop() side by side, of one server`),
      ...supervised.tell(`${supervise.at(-1)} supervised, all crash at once, each`, 'ms', ['crash']),
      ...supervised.tell(`${supervise.at(-1)} supervised and idle, all of them`, '% of a core', ['idle']),
    ],
  };
}

/** @param {Task} task */
async function measure({ what, sizes, along }) {
  const axis = { panel: '', along, unit: '', sizes, turns: 1 };
  const { curves, samples } = await measureCurves(axis, (size) => runMany(what, size));
  const [least = 0, most = 0] = [sizes.at(0), sizes.at(-1)];
  /** @param {string} name */
  const nameOf = (name) => NAMES[/** @type {keyof typeof NAMES} */ (name)] ?? name;
  /** @param {string} panel @param {string} unit @param {string[]} names */
  const draw = (panel, unit, names) =>
    curves
      .filter((curve) => names.includes(curve.what))
      .map((curve) => ({ ...curve, panel, unit, what: nameOf(curve.what) }));
  /** A row for each, with one of them beside it. @param {string} text @param {string} unit @param {string[]} names */
  const tell = (text, unit, names) =>
    names.map((name) => ({
      what: names.length === 1 ? text : `${nameOf(name)} of ${text}`,
      unit,
      subject: `${most}`,
      samples: { [most]: valuesOf(samples.get(most), name), [`${least} alone`]: valuesOf(samples.get(least), name) },
    }));
  /** The time of the slowest call, and how many calls gave up. @param {string} text */
  const bound = (text) => [
    {
      what: `${text}: the slowest`,
      unit: 'ms',
      subject: 'the slowest',
      samples: { 'the slowest': valuesOf(samples.get(most), 'slowest') },
      limit: { atMost: STOP_BOUND_MS },
    },
    {
      what: `${text}: those that give up`,
      unit: 'calls',
      subject: 'StopTimeoutError',
      samples: { StopTimeoutError: valuesOf(samples.get(most), 'failures') },
      limit: { atMost: 0 },
    },
  ];
  return { draw, tell, bound };
}

/**
 * Runs in a process of its own, so that what earlier runs left in memory is not measured. @param {Task['what']} what @param {number}
 * size
 */
async function runMany(what, size) {
  const path = fileURLToPath(new URL('many.mjs', import.meta.url));
  const stdio = /** @type {import('node:child_process').StdioOptions} */ (['ignore', 'inherit', 'inherit', 'ipc']);
  const program = startProgram(process.execPath, [path, what, String(size)], { stdio });
  const exit = once(program, 'exit').then(([code, signal]) => {
    throw new Error(`many.mjs ${what} ${size} ended with ${code ?? signal}`);
  });
  exit.catch(() => undefined);
  const [measured] = await Promise.race([once(program, 'message'), exit]);
  await endProgram(program, 'SIGTERM');
  return /** @type {import('./curves.mjs').Measured} */ (measured);
}
