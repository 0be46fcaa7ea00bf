/** The lock itself: microseconds a call. */
// @ts-check
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { acquireLock, isLocked, releaseLock } from 'flock-process';
import { compare, median, timed } from '../measure.mjs';
import { compile, requirePeer } from '../peers.mjs';
import { makeFolder } from '../surroundings.mjs';

/** A round is the median of many short batches: one that another process interrupts drops out. */
const BATCHES = 51;
const CALLS = 100;
const SLOW_CALLS = 4;

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureLocks({ rounds }) {
  const folder = makeFolder('locks');
  const lockLoop = compile('lock-loop');
  const { flockSync } = createRequire(import.meta.url)('fs-ext');
  const properLockfile = requirePeer('proper-lockfile');
  /** @param {string} name */
  const file = (name) => join(folder, name);
  for (const name of ['free', 'held', 'proper']) releaseLock(acquireLock(file(name)));

  const cLoop = {
    name: 'C loop',
    once: () => Number(execFileSync(lockLoop, [file('c'), String(BATCHES), String(CALLS)])) / 1_000,
  };
  const pairs = await compare(
    [
      cLoop,
      perCall('acquireLock + releaseLock', CALLS, () => releaseLock(acquireLock(file('ours')))),
      perCall('raw fs-ext', CALLS, () => {
        const fd = openSync(file('raw'), constants.O_RDWR | constants.O_CREAT, 0o600);
        flockSync(fd, 'exnb');
        closeSync(fd);
      }),
      perCall('proper-lockfile', SLOW_CALLS, async () => {
        const release = await properLockfile.lock(file('proper'));
        await release();
      }),
    ],
    { rounds },
  );
  const held = acquireLock(file('held'));
  const questions = await compare(
    [
      cLoop,
      perCall('isLocked, free', CALLS, () => isLocked(file('free'))),
      perCall('isLocked, held', CALLS, () => isLocked(file('held'))),
      perCall('proper-lockfile check', SLOW_CALLS, () => properLockfile.check(file('proper'))),
    ],
    { rounds },
  );
  held.release();
  const { 'isLocked, held': heldSamples = [], ...free } = questions;
  const row = { unit: 'µs', reference: 'C loop' };
  return [
    { ...row, what: 'take and release', subject: 'acquireLock + releaseLock', samples: pairs, limit: { times: 3 } },
    { ...row, what: 'ask, free', subject: 'isLocked, free', samples: free, limit: { times: 2 } },
    {
      ...row,
      what: 'ask, held',
      subject: 'isLocked, held',
      samples: { 'isLocked, held': heldSamples, 'C loop': questions['C loop'] ?? [] },
      limit: { times: 3 },
    },
  ];
}

/** @param {string} name @param {number} calls @param {() => unknown} act */
function perCall(name, calls, act) {
  const runBatch = async () => {
    for (let call = 0; call < calls; call += 1) {
      const result = act();
      if (result instanceof Promise) await result;
    }
  };
  const once = async () => {
    /** @type {number[]} */
    const batches = [];
    while (batches.length < BATCHES) batches.push(await timed(runBatch));
    return (median(batches) * 1_000) / calls;
  };
  return { name, once };
}
