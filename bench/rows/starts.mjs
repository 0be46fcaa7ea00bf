/** The time from the call until a redis-server answers. */
// @ts-check
import { join } from 'node:path';
import { ProcessManager } from 'flock-process';
import { freePort } from '../../scripts/free-port.mjs';
import { compare, timed } from '../measure.mjs';
import { requirePeer } from '../peers.mjs';
import { Pm2 } from '../pm2.mjs';
import { endProgram, makeFolder, redisArguments, startProgram, untilPortOpen } from '../surroundings.mjs';

/** The rounds of a peer that is slow by its own design. */
const SLOW_ROUNDS = 5;

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureStarts({ rounds }) {
  const pm2 = await Pm2.connect();
  try {
    return [await measureFirstStart(pm2, rounds)];
  } finally {
    await pm2.end();
  }
}

/** @param {Pm2} pm2 @param {number} rounds @returns {Promise<import('../budgets.mjs').Row>} */
async function measureFirstStart(pm2, rounds) {
  const tcpPortUsed = requirePeer('tcp-port-used');
  const waitOn = requirePeer('wait-on');
  const waitPort = requirePeer('wait-port');
  const manager = await redisManager();
  const contestants = [
    spawnAndWait('bare spawn, 1 ms polling', untilPortOpen),
    {
      name: 'start()',
      once: async () => {
        const ms = await timed(() => manager.start());
        await manager.stop();
        return ms;
      },
    },
    {
      name: 'pm2',
      rounds: SLOW_ROUNDS,
      once: async () => {
        const port = await freePort();
        const ms = await timed(async () => {
          await pm2.start(redisApp('first', port));
          await untilPortOpen(port);
        });
        await pm2.delete('first');
        return ms;
      },
    },
    spawnAndWait('tcp-port-used', (port) => tcpPortUsed.waitUntilUsed(port), SLOW_ROUNDS),
    spawnAndWait('wait-on', (port) => waitOn({ resources: [`tcp:127.0.0.1:${port}`] }), SLOW_ROUNDS),
    spawnAndWait('wait-port', (port) => waitPort({ host: '127.0.0.1', port, output: 'silent' }), SLOW_ROUNDS),
  ];
  return {
    what: 'start → ready, redis-server',
    unit: 'ms',
    subject: 'start()',
    reference: 'bare spawn, 1 ms polling',
    samples: await compare(contestants, { rounds }),
    limit: { plus: 5 },
  };
}

/** @param {string} name @param {(port: number) => Promise<unknown>} wait @param {number} [rounds] */
export function spawnAndWait(name, wait, rounds) {
  const once = async () => {
    const port = await freePort();
    const began = performance.now();
    const redis = startProgram('redis-server', redisArguments(port));
    await wait(port);
    const ms = performance.now() - began;
    await endProgram(redis);
    return ms;
  };
  return rounds === undefined ? { name, once } : { name, once, rounds };
}

/** @returns {Promise<ProcessManager>} */
export async function redisManager() {
  const port = await freePort();
  const stateDir = join(makeFolder('redis'), 'state');
  // The server is killed, because a redis that gets the stop signal takes tens of milliseconds, which are not measured here.
  return new ProcessManager({
    name: 'redis',
    command: 'redis-server',
    args: redisArguments(port),
    port,
    stateDir,
    stopSignal: 'SIGKILL',
  });
}

/** @param {string} name @param {number} port */
export function redisApp(name, port) {
  return {
    name,
    script: '/usr/bin/env',
    args: ['redis-server', ...redisArguments(port)],
    interpreter: 'none',
    kill_timeout: 100,
    max_restarts: 1_000_000,
    min_uptime: 100,
  };
}
