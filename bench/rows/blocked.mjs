/**
 * How much of a start the event loop of the caller is blocked, with /proc and with ps(1) and lsof(1) in its place. The loop counts as
 * blocked when it does not turn for BLOCKED_MS: work that is done in many short turns delays nothing else.
 */
// @ts-check
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager } from 'flock-process';
import { freePort } from '../../scripts/free-port.mjs';
import { compare } from '../measure.mjs';
import { makeFolder } from '../surroundings.mjs';

/** About the time that a Temporal dev server takes to start. */
const READY_AFTER_MS = 500;

/** When a timer of one millisecond comes later than this, the event loop was blocked. */
const BLOCKED_MS = 3;

/** Listens after READY_AFTER_MS: `node --eval SERVER PORT`. */
const SERVER = `setTimeout(() => require('node:net').createServer().listen(process.argv[1], '127.0.0.1'), ${READY_AFTER_MS})`;

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureBlocked({ rounds }) {
  const port = await freePort();
  const manager = new ProcessManager({
    name: 'slow',
    command: process.execPath,
    args: ['--eval', SERVER, String(port)],
    port,
    stateDir: join(makeFolder('blocked'), 'state'),
    stopSignal: 'SIGKILL',
  });
  /** @param {NodeJS.Platform} platform the platform that this process pretends to be on during the start */
  const blockedPercent = async (platform) => {
    const real = process.platform;
    Object.defineProperty(process, 'platform', { value: platform });
    const turns = watchTurns();
    try {
      // Lets the timers that the stop before has delayed come first.
      await delay(5);
      const began = performance.now();
      turns.reset();
      await manager.start();
      return (100 * turns.blockedMs()) / (performance.now() - began);
    } finally {
      turns.end();
      Object.defineProperty(process, 'platform', { value: real });
      await manager.stop();
    }
  };
  const contestants = [
    { name: 'without /proc', once: () => blockedPercent('darwin') },
    { name: 'with /proc', once: () => blockedPercent('linux') },
  ];
  const samples = await compare(contestants, { rounds });
  const what = `event loop blocked while a server needs ${READY_AFTER_MS} ms to be ready`;
  return [{ what, unit: '%', subject: 'without /proc', samples, limit: { atMost: 5 } }];
}

/** Measures how long, in all, the event loop did not turn. */
function watchTurns() {
  let [last, blocked] = [performance.now(), 0];
  const look = () => {
    const sinceLast = performance.now() - last;
    if (sinceLast > BLOCKED_MS) blocked += sinceLast;
    last += sinceLast;
  };
  const timer = setInterval(look, 1);
  return {
    reset: () => ([last, blocked] = [performance.now(), 0]),
    blockedMs: () => {
      look();
      return blocked;
    },
    end: () => clearInterval(timer),
  };
}
