import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { isLocked, lockHolders } from '../../src/index.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec } from '../helpers/servers.js';
import { accepts, livingInGroup, witnessedServer } from '../helpers/witness.js';

test('eight processes that start at once get one server and one PID, and none an error', async (t) => {
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
