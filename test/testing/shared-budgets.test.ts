/** The time that it takes to join a shared instance that runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startShared } from '../../src/index.js';
import { rounds } from '../helpers/resources.js';
import { nothingIsLeft, ownKey, redisPreset, startUser } from '../helpers/shared.js';

/** Ten times the time that joining may take on an idle machine: other work may have the processors. */
const JOIN_MS = 100;

test('joining a running instance is quick in a process that has loaded the library', async (t) => {
  const key = ownKey();
  const user = await startUser(t, { key });
  const { pid } = await user.join();
  const times: number[] = [];
  for (let round = 0; round <= rounds(200); round += 1) {
    const begin = performance.now();
    const instance = await startShared(redisPreset, { key });
    const took = performance.now() - begin;
    assert.deepEqual([instance.pid, instance.reused], [pid, true]);
    await instance.leave();
    // The first call loads code on demand, so it is not measured.
    if (round > 0) times.push(took);
  }
  await user.leave();
  await nothingIsLeft(key);
  const sorted = times.toSorted((one, other) => one - other);
  const median = sorted[Math.floor(sorted.length / 2)] as number;
  t.diagnostic(`median of ${times.length} joins: ${median.toFixed(1)} ms, the quickest ${sorted[0]?.toFixed(1)} ms`);
  assert.ok(median < JOIN_MS, `${median} ms`);
});
