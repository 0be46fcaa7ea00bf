import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { isLocked, lockHolders, ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { Gate, outcomeOf } from '../helpers/gate.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter, rounds } from '../helpers/resources.js';
import { nodeSpec, sleepSpec } from '../helpers/servers.js';
import { STILL_MS } from '../helpers/waiting.js';
import { accepts, livingInGroup, witnessedServer } from '../helpers/witness.js';

test('eight processes that start at once return the same PID without an error, and spawn one server', async (t) => {
  const { spec, pids, assertNeverTwo, assertNothingThere } = await witnessedServer(t);
  const managers = await Promise.all(Array.from({ length: 8 }, () => startRemoteManager(t, spec)));
  for (let round = 1; round <= rounds(50); round += 1) {
    const instances = await Promise.all(managers.map((manager) => manager.start()));
    assert.equal(new Set(instances.map(({ pid }) => pid)).size, 1, `round ${round}`);
    assert.equal(instances.filter(({ reused }) => !reused).length, 1, `round ${round}`);
    assert.equal(pids().length, round);
    assert.equal(pids().at(-1), instances[0]?.pid);
    assert.equal((await managers[round % 8]?.stop())?.outcome, 'stopped');
    await assertNothingThere();
  }
  assertNeverTwo();
  const spawned = managers.flatMap(({ events }) => events.filter(({ event }) => event === 'spawned'));
  assert.equal(spawned.length, rounds(50));
});

test('a second start, from a new process, reports the same PID as reused', async (t) => {
  const spec = await nodeSpec(t);
  const first = await (await startRemoteManager(t, spec)).start();
  const second = await (await startRemoteManager(t, spec)).start();
  assert.equal(first.reused, false);
  const { startedAt: _, ...facts } = second;
  assert.deepEqual(facts, { pid: first.pid, address: first.address, reused: true, differences: [] });
});

test('a stop from a third process frees the lock, the port and the group', async (t) => {
  const spec = await nodeSpec(t, { child: 'stay' });
  const starter = await startRemoteManager(t, spec);
  const { pid } = await starter.start();
  starter.kill();
  await starter.program.ended();
  await (await startRemoteManager(t, spec)).start();
  const lockFile = `${spec.stateDir}/${spec.name}.lock`;
  assert.equal((await lockHolders(lockFile)).length, 2, 'the server and its child');
  assert.equal(livingInGroup(pid).length, 2);
  const { outcome } = await (await startRemoteManager(t, spec)).stop();
  assert.equal(outcome, 'stopped');
  assert.equal(isLocked(lockFile), false);
  assert.equal(await accepts(spec.port), false);
  assert.deepEqual(livingInGroup(pid), []);
  assert.equal(existsSync(`${spec.stateDir}/${spec.name}.pid`), false);
});

/** This is longer than any test takes: each check ends when the test opens the gate. */
const LONG_MS = 60_000;

for (const end of ['is aborted', 'succeeds'] as const) {
  test(`a start waits for an unfinished start of another manager until that start ${end}`, async (t) => {
    const gate = new Gate();
    const spec = sleepSpec(t, { checkTimeoutMs: LONG_MS, startTimeoutMs: LONG_MS, isHealthy: () => true });
    const starter = new ProcessManager({
      ...spec,
      isHealthy: async (instance) => {
        await gate.pass(instance);
        return true;
      },
    });
    const abort = new AbortController();
    const start = outcomeOf(starter.start({ signal: abort.signal }));
    const doubtful = killAfter(t, (await gate.asked).pid);
    const contending = new ProcessManager(spec).start();
    const early = await Promise.race([contending, new Promise((resolve) => setTimeout(resolve, STILL_MS, 'waits'))]);
    assert.equal(early, 'waits');
    if (end === 'is aborted') abort.abort(new Error('given up'));
    else gate.open();
    const [outcome, { pid, reused }] = await Promise.all([start, contending]);
    assert.equal(outcome instanceof Error, end === 'is aborted');
    assert.deepEqual([pid === doubtful, reused], end === 'is aborted' ? [false, false] : [true, true]);
    assert.equal(isRunningProcess(pid), true);
  });
}
