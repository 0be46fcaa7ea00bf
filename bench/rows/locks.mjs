/** The cost of the lock itself, in microseconds a call. */
// @ts-check
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { acquireLock, isLocked, releaseLock } from 'flock-process';
import { compare, median, timed } from '../measure.mjs';
import { compile, requirePeer } from '../peers.mjs';
import { acquireAndRelease, ask } from '../raw-lock.mjs';
import { makeFolder } from '../surroundings.mjs';

/** The result of a round is the median of many short batches, so that a batch which another process interrupts does not count. */
const BATCHES = 51;
const CALLS = 100;
const SLOW_CALLS = 4;

/** The reference of each row: raw-lock.mjs. */
const RAW = 'the same calls without us';

/** @param {{ rounds: number }} options @returns {Promise<import('../budgets.mjs').Row[]>} */
export async function measureLocks({ rounds }) {
  const folder = makeFolder('locks');
  const lockLoop = compile('lock-loop');
  const properLockfile = requirePeer('proper-lockfile');
  /** @param {string} name */
  const file = (name) => join(folder, name);
  for (const name of ['ours', 'raw', 'free', 'held', 'proper']) releaseLock(acquireLock(file(name)));

  const cLoop = {
    name: 'C loop',
    once: () => Number(execFileSync(lockLoop, [file('c'), String(BATCHES), String(CALLS)])) / 1_000,
  };
  const pairs = await compare(
    [
      perCall(RAW, CALLS, () => acquireAndRelease(file('raw'))),
      perCall('acquireLock + releaseLock', CALLS, () => releaseLock(acquireLock(file('ours')))),
      cLoop,
      perCall('proper-lockfile', SLOW_CALLS, async () => {
        const release = await properLockfile.lock(file('proper'));
        await release();
      }),
    ],
    { rounds },
  );
  const check = perCall('proper-lockfile check', SLOW_CALLS, () => properLockfile.check(file('proper')));
  const free = await compare(
    [
      perCall(RAW, CALLS, () => ask(file('free'))),
      perCall('isLocked, free', CALLS, () => isLocked(file('free'))),
      cLoop,
      check,
    ],
    { rounds },
  );
  const lock = acquireLock(file('held'));
  const held = await compare(
    [
      perCall(RAW, CALLS, () => ask(file('held'))),
      perCall('isLocked, held', CALLS, () => isLocked(file('held'))),
      check,
    ],
    { rounds },
  );
  lock.release();
  const remark = remarkOnCalls(folder);
  const row = { unit: 'µs', reference: RAW, limit: { times: 1.3 } };
  return [
    { ...row, what: `take and release${remark}`, subject: 'acquireLock + releaseLock', samples: pairs },
    { ...row, what: `ask, free${remark}`, subject: 'isLocked, free', samples: free },
    { ...row, what: `ask, held${remark}`, subject: 'isLocked, held', samples: held },
  ];
}

/** Warns when the reference makes other calls than the library, because the rows then prove nothing. @param {string} folder */
function remarkOnCalls(folder) {
  const program = fileURLToPath(new URL('../lock-calls.mjs', import.meta.url));
  const differences = execFileSync(process.execPath, [program, folder], { encoding: 'utf8' });
  if (differences === '') return '';
  console.error(`bench/raw-lock.mjs is out of date:\n${differences}`);
  return ' (REFERENCE MAKES OTHER CALLS)';
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
