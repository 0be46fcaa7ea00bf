/** For how much of a start the event loop of the caller is busy: with /proc, and where ps(1) and lsof(1) stand in for it. */
// @ts-check
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { ProcessManager } from 'flock-process';
import { freePort } from '../../scripts/free-port.mjs';
import { compare } from '../measure.mjs';
import { makeFolder } from '../surroundings.mjs';

/** About what a Temporal dev server takes. */
const READY_AFTER_MS = 500;

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
  const busyPercent = async (platform) => {
    const real = process.platform;
    Object.defineProperty(process, 'platform', { value: platform });
    try {
      const [before, began] = [performance.eventLoopUtilization(), performance.now()];
      await manager.start();
      const tookMs = performance.now() - began;
      return (100 * (tookMs - performance.eventLoopUtilization(before).idle)) / tookMs;
    } finally {
      Object.defineProperty(process, 'platform', { value: real });
      await manager.stop();
    }
  };
  const contestants = [
    { name: 'without /proc', once: () => busyPercent('darwin') },
    { name: 'with /proc', once: () => busyPercent('linux') },
  ];
  const samples = await compare(contestants, { rounds });
  const what = `event loop blocked while a server needs ${READY_AFTER_MS} ms to be ready`;
  return [{ what, unit: '%', subject: 'without /proc', samples, limit: { atMost: 5 } }];
}
