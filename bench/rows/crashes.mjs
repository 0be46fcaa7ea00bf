/** The time from SIGKILL of a supervised redis-server until the next one is ready. */
// @ts-check
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../../scripts/free-port.mjs';
import { compare } from '../measure.mjs';
import { findRunsv } from '../peers.mjs';
import { Pm2 } from '../pm2.mjs';
import {
  endProgram,
  makeFolder,
  redisArguments,
  redisPid,
  startProgram,
  untilPortOpen,
  untilRedisAnswers,
} from '../surroundings.mjs';
import { redisApp, redisManager, spawnAndWait } from './starts.mjs';

/** runit restarts a service at once if it has run for a second. */
const LEAST_UPTIME_MS = 1_100;

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureCrashes({ rounds }) {
  /** @type {(() => Promise<unknown>)[]} */
  const ends = [];
  try {
    const contestants = [
      spawnAndWait('bare spawn, 1 ms polling', untilPortOpen),
      await supervised(ends),
      await pm2App(ends),
      ...(await runitService(ends)),
    ];
    const samples = await compare(contestants, { rounds: Math.min(rounds, 25) });
    return [
      {
        what: 'crash → ready again, redis-server',
        unit: 'ms',
        subject: 'supervise()',
        reference: 'bare spawn, 1 ms polling',
        samples,
        limit: { plus: 8 },
      },
    ];
  } finally {
    for (const end of ends.toReversed()) await end();
  }
}

/** @param {(() => Promise<unknown>)[]} ends */
async function supervised(ends) {
  const manager = await redisManager();
  const ready = once(manager, 'ready');
  // With this window each crash counts as the first one, so that each restart is immediate.
  manager.supervise({ giveUpAfter: { restarts: 1_000_000, withinMs: 1 } });
  ends.push(() => manager.stop());
  let [{ pid }] = await ready;
  return crashing('supervise()', async (killed) => {
    const again = once(manager, 'ready');
    const began = killed(pid);
    [{ pid }] = await again;
    return performance.now() - began;
  });
}

/** @param {(() => Promise<unknown>)[]} ends */
async function pm2App(ends) {
  const pm2 = await Pm2.connect();
  ends.push(() => pm2.end());
  const port = await freePort();
  await pm2.start(redisApp('crashing', port));
  return watchedFromOutside('pm2', port);
}

/** @param {(() => Promise<unknown>)[]} ends */
async function runitService(ends) {
  const runsv = findRunsv();
  if (runsv === undefined) return [];
  const port = await freePort();
  const service = join(makeFolder('runit'), 'redis');
  const script = join(service, 'run');
  mkdirSync(service);
  const words = redisArguments(port).map((word) => `'${word}'`);
  writeFileSync(script, `#!/bin/sh\nexec redis-server ${words.join(' ')} >/dev/null\n`);
  chmodSync(script, 0o755);
  const runit = startProgram(runsv, [service]);
  ends.push(() => endProgram(runit, 'SIGTERM'));
  return [watchedFromOutside('runit', port)];
}

/** @param {string} name @param {number} port */
function watchedFromOutside(name, port) {
  return crashing(name, async (killed) => {
    const pid = (await redisPid(port)) ?? (await untilRedisAnswers(port));
    const began = killed(pid);
    await untilRedisAnswers(port, pid);
    return performance.now() - began;
  });
}

/**
 * @param {string} name
 * @param {(killed: (pid: number) => number) => Promise<number>} crash
 */
function crashing(name, crash) {
  let upSince = performance.now();
  const runOnce = async () => {
    await delay(Math.max(0, upSince + LEAST_UPTIME_MS - performance.now()));
    const ms = await crash((pid) => {
      process.kill(pid, 'SIGKILL');
      return performance.now();
    });
    upSince = performance.now();
    return ms;
  };
  return { name, once: runOnce };
}
