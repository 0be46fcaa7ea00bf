/**
 * A program passes one AbortSignal to all calls, such as its shutdown signal. A call that has ended leaves no listener
 * on it.
 */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  acquireLock,
  ProcessManager,
  type ProcessSpec,
  startEphemeral,
  startShared,
  waitForLock,
} from '../../src/index.js';
import { nodePreset, redisPreset } from '../helpers/ephemeral.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';
import { ownKey } from '../helpers/shared.js';

const CALLS = 1_000;

/** @returns a signal, and an assertion for the end: no listener is left on it, and Node has warned of nothing */
function watched(t: TestContext): { signal: AbortSignal; assertClean(what: string): Promise<void> } {
  const { signal } = new AbortController();
  const warnings: string[] = [];
  const warn = (warning: Error) => warnings.push(`${warning.name}: ${warning.message}`);
  process.on('warning', warn);
  t.after(() => process.off('warning', warn));
  return {
    signal,
    assertClean: async (what) => {
      assert.equal(getEventListeners(signal, 'abort').length, 0, what);
      // Node emits warnings on a later tick.
      await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(warnings, [], what);
    },
  };
}

/** Makes the calls side by side, this many at a time. */
async function often(calls: number, call: (index: number) => Promise<unknown>, sideBySide = 50): Promise<void> {
  for (let done = 0; done < calls; done += sideBySide) {
    await Promise.all(Array.from({ length: Math.min(sideBySide, calls - done) }, (_, index) => call(done + index)));
  }
}

test('waitForLock() leaves no listener on its signal, whether it is granted, refused or aborted', async (t) => {
  const { signal, assertClean } = watched(t);
  const folder = temporaryFolder(t);
  using _held = acquireLock(join(folder, 'held.lock'));
  await often(CALLS, async (index) => {
    if (index % 2 === 0) (await waitForLock(join(folder, `${index % 8}.lock`), { signal })).release();
    else
      await assert.rejects(waitForLock(join(folder, 'held.lock'), { signal, timeoutMs: 5 }), { code: 'ERR_LOCK_HELD' });
  });
  await assertClean('waitForLock');
  const shutdown = new AbortController();
  const waits = Array.from({ length: 50 }, () => waitForLock(join(folder, 'held.lock'), { signal: shutdown.signal }));
  const settled = Promise.allSettled(waits);
  shutdown.abort(new Error('shutdown'));
  assert.deepEqual(
    new Set((await settled).map((it) => it.status === 'rejected' && it.reason)),
    new Set([shutdown.signal.reason]),
  );
  assert.equal(getEventListeners(shutdown.signal, 'abort').length, 0);
});

for (const lifetime of ['detached', 'tied', 'shared'] as const) {
  test(`start, status, restart and stop of a ${lifetime} process leave no listener on their signal`, async (t) => {
    const { signal, assertClean } = watched(t);
    const spec: ProcessSpec = { ...(await redisSpec(t)), lifetime, isHealthy: () => true };
    const manager = new ProcessManager(spec);
    t.after(() => manager.stop());
    const { pid } = await manager.start({ signal });
    await assertClean('the first start');
    await often(CALLS / 2, async () => assert.equal((await manager.start({ signal })).pid, pid));
    await assertClean('start again');
    await often(CALLS / 10, async () => assert.equal((await manager.status()).state, 'running'));
    await manager.restart({ signal });
    await assertClean('restart');
    await manager.stop({ signal });
    await often(CALLS / 20, async () => void (await manager.stop({ signal })), 10);
    await assertClean('stop');
  });
}

test('failed starts, supervisors and instances for tests leave no listener on their signal', async (t) => {
  const { signal, assertClean } = watched(t);
  const bad = new ProcessManager({ ...sleepSpec(t), name: 'bad', command: 'false', isHealthy: () => false });
  for (let calls = 0; calls < 20; calls += 1) await assert.rejects(bad.start({ signal }), { code: 'ERR_EARLY_EXIT' });
  await assertClean('a start that fails');
  const manager = new ProcessManager(sleepSpec(t));
  for (let calls = 0; calls < 20; calls += 1) await manager.supervise({ signal }).stop();
  await manager.stop({ signal });
  await assertClean('supervise');
  await (await startEphemeral(redisPreset, { signal })).stop();
  await (await startShared(redisPreset, { signal, key: ownKey() })).leave();
  await assert.rejects(
    startEphemeral(nodePreset({ 'listen-after': 60_000, 'exit-after': 0, 'exit-code': 1 }), { signal }),
  );
  await assertClean('instances for tests');
});
