/** The eight lock scenarios of the testing guide, with a real Temporal. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import psList from 'ps-list';
import {
  acquireLock,
  isLocked,
  LockHeldError,
  lockHolders,
  ProcessManager,
  temporalDevServer,
} from '../../src/index.js';
import { isPortOpen } from '../../src/system/ports.js';
import { rounds } from '../helpers/resources.js';
import { callElsewhere, connect, startDespiteLostPorts, temporalOptions } from '../helpers/temporal-instances.js';
import { eventually } from '../helpers/waiting.js';

async function temporalManager(t: TestContext) {
  const options = await temporalOptions(t);
  const manager = new ProcessManager(temporalDevServer(options));
  return { manager, options, lockFile: manager.spec.lockFile, address: { host: '127.0.0.1', port: options.port } };
}

test('start() creates the lock file, and Temporal itself holds the lock', async (t) => {
  const { manager, lockFile } = await temporalManager(t);
  assert.equal(existsSync(lockFile), false);
  const { pid, reused } = await startDespiteLostPorts(manager);
  assert.equal(reused, false);
  assert.equal(statSync(lockFile).mode & 0o7777, 0o600);
  assert.equal(isLocked(lockFile), true);
  assert.deepEqual(await lockHolders(lockFile), [pid]);
});

test('a second instance is prevented, in this process and in another one', async (t) => {
  const { manager, options, lockFile } = await temporalManager(t);
  const { pid } = await startDespiteLostPorts(manager);
  assert.throws(() => acquireLock(lockFile), LockHeldError);
  const again = await new ProcessManager(temporalDevServer(options)).start();
  const { instance: elsewhere } = await callElsewhere(t, 'start', options);
  assert.deepEqual([again.pid, again.reused], [pid, true]);
  assert.deepEqual([elsewhere?.pid, elsewhere?.reused], [pid, true]);
  assert.deepEqual(await lockHolders(lockFile), [pid]);
});

test('stop() lets Temporal end by itself, and lock and port are free when it resolves', async (t) => {
  const { manager, lockFile, address } = await temporalManager(t);
  const { pid } = await startDespiteLostPorts(manager);
  const exits: unknown[] = [];
  manager.on('exit', (detail) => exits.push(detail));
  const begin = performance.now();
  const { outcome } = await manager.stop();
  const ms = performance.now() - begin;
  t.diagnostic(`stop() took ${ms.toFixed(0)} ms`);
  assert.equal(outcome, 'stopped');
  assert.equal(isLocked(lockFile), false);
  assert.equal(await isPortOpen(address, { timeoutMs: 1_000 }), false);
  assert.ok(ms < manager.spec.stopTimeoutMs, `it took ${ms} ms`);
  await eventually('the exit event is emitted', () => exits.length > 0);
  assert.deepEqual(exits, [{ pid, exitCode: 0, signal: null }]);
});

test('kill -9 of Temporal frees the lock, and status says stopped', async (t) => {
  const { manager, lockFile } = await temporalManager(t);
  const { pid } = await startDespiteLostPorts(manager);
  const begin = performance.now();
  process.kill(pid, 'SIGKILL');
  await eventually('the lock is free', () => !isLocked(lockFile), { everyMs: 1 });
  t.diagnostic(`the lock was free ${(performance.now() - begin).toFixed(0)} ms after kill -9`);
  assert.equal((await manager.status()).state, 'stopped');
  assert.deepEqual(await lockHolders(lockFile), []);
});

test('start() in the same turn as the kill -9 starts a new Temporal that serves', async (t) => {
  const { manager, lockFile } = await temporalManager(t);
  const crashed = await startDespiteLostPorts(manager);
  process.kill(crashed.pid, 'SIGKILL');
  const begin = performance.now();
  const fresh = await startDespiteLostPorts(manager);
  t.diagnostic(`ready ${(performance.now() - begin).toFixed(0)} ms after kill -9`);
  assert.notEqual(fresh.pid, crashed.pid);
  assert.equal(fresh.reused, false);
  assert.deepEqual(await lockHolders(lockFile), [fresh.pid]);
  const client = await connect(t, fresh);
  const { workflowId } = await client.workflow.start('anything', { taskQueue: 'none', workflowId: 'after-crash' });
  assert.equal(workflowId, 'after-crash');
});

test('isLocked() takes less than a tenth of the time of a list of all processes', async (t) => {
  const { manager, lockFile } = await temporalManager(t);
  await startDespiteLostPorts(manager);
  const isStillLocked = async () => assert.equal(isLocked(lockFile), true);
  const lockMs = await medianMs(200, isStillLocked);
  const statusMs = await medianMs(20, () => manager.status());
  const processesMs = await medianMs(5, () => psList());
  t.diagnostic(
    `isLocked ${(lockMs * 1000).toFixed(1)} µs, status() ${statusMs.toFixed(2)} ms (${(statusMs / lockMs).toFixed(0)} times), ` +
      `ps-list ${processesMs.toFixed(1)} ms (${(processesMs / lockMs).toFixed(0)} times)`,
  );
  assert.ok(lockMs * 10 < processesMs, `isLocked ${lockMs} ms, ps-list ${processesMs} ms`);
  assert.ok(lockMs < statusMs, `isLocked ${lockMs} ms, status() ${statusMs} ms`);
});

test('start and stop work again and again, each time with a new process and a free lock in between', async (t) => {
  const { manager, lockFile } = await temporalManager(t);
  const pids = new Set<number>();
  const count = rounds(10);
  for (let round = 1; round <= count; round += 1) {
    const { pid, reused } = await startDespiteLostPorts(manager);
    assert.equal(reused, false);
    assert.deepEqual(await lockHolders(lockFile), [pid]);
    pids.add(pid);
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.equal(isLocked(lockFile), false);
  }
  assert.equal(pids.size, count);
});

test('exactly one of four processes that start Temporal at once spawns it, and all return its PID', async (t) => {
  const { options, lockFile } = await temporalManager(t);
  const outcomes = await Promise.all(Array.from({ length: 4 }, () => callElsewhere(t, 'start', options)));
  const instances = outcomes.map(({ instance, error }) => instance ?? assert.fail(error?.message));
  const pids = new Set(instances.map(({ pid }) => pid));
  assert.equal(pids.size, 1);
  assert.equal(instances.filter(({ reused }) => !reused).length, 1);
  assert.deepEqual(await lockHolders(lockFile), [...pids]);
});

async function medianMs(times: number, act: () => Promise<unknown>): Promise<number> {
  const durations: number[] = [];
  for (let time = 0; time < times; time += 1) {
    const begin = performance.now();
    await act();
    durations.push(performance.now() - begin);
  }
  return durations.toSorted((one, other) => one - other)[Math.floor(times / 2)] ?? 0;
}
