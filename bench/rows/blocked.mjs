/**
 * For how much of a start the event loop of the caller is blocked: with /proc, and where ps(1) and lsof(1) stand in for it. It is
 * blocked while it does not turn for BLOCKED_MS: what it does in many short turns keeps nobody waiting.
 */
// @ts-check
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager } from 'flock-process';
import { freePort } from '../../scripts/free-port.mjs';
import { compare } from '../measure.mjs';
import { makeFolder } from '../surroundings.mjs';

/** About what a Temporal dev server takes. */
const READY_AFTER_MS = 500;

/** A timer of one millisecond that comes later than this was kept waiting. */
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
  /** @param {NodeJS.Platform} platform in which this process believes for as long as the start takes */
  const blockedPercent = async (platform) => {
    const real = process.platform;
    Object.defineProperty(process, 'platform', { value: platform });
    const turns = watchTurns();
    try {
      // What the stop before kept waiting has had its turn.
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

/** How long, in all, the event loop did not turn. */
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
