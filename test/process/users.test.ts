/** Lifetime 'shared' of a manager: who counts as a user, who does not, and what happens when the last one leaves. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { CommandNotFoundError, EarlyExitError, isLocked, ProcessManager, StartTimeoutError } from '../../src/index.js';
import { journalEntries } from '../helpers/journal.js';
import { isRunning } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { groupEnds } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { accepts } from '../helpers/witness.js';

type Test = Parameters<typeof redisSpec>[0];

async function sharedSpec(t: Test) {
  return await redisSpec(t, { lifetime: 'shared' });
}

async function usersOf(manager: ProcessManager): Promise<number | undefined> {
  return (await manager.status()).users;
}

test('the process ends when the last of three managers leaves, and not when the first two leave', async (t) => {
  const spec = await sharedSpec(t);
  const managers = [1, 2, 3].map(() => new ProcessManager(spec)) as [ProcessManager, ProcessManager, ProcessManager];
  const instances = await Promise.all(managers.map((manager) => manager.start()));
  const [{ pid }] = instances as [(typeof instances)[number]];
  assert.deepEqual(
    instances.map((instance) => instance.pid),
    [pid, pid, pid],
  );
  for (const [index, manager] of managers.entries()) {
    assert.equal(await usersOf(manager), 3 - index);
    assert.equal(await accepts(spec.port), true);
    await manager.leave();
  }
  assert.equal(isRunning(pid), false);
  assert.equal(await accepts(spec.port), false);
  assert.equal(isLocked(managers[0].spec.lockFile), false);
  // A process that its users no longer need was not stopped on purpose, so the journal has no stop.
  assert.deepEqual(journalEntries(managers[0].spec, 'stop', 'stopped'), []);
  await groupEnds(pid);
  assert.equal((await managers[0].status()).state, 'stopped');
  assert.equal(await usersOf(managers[0]), 0);
});

test('two starts of one manager count once, and so do two leaves', async (t) => {
  const manager = new ProcessManager(await sharedSpec(t));
  const other = new ProcessManager(manager.spec);
  const [one, two] = await Promise.all([manager.start(), manager.start()]);
  assert.equal(one.pid, two.pid);
  await manager.start();
  assert.equal(await usersOf(manager), 1);
  await other.start();
  await Promise.all([manager.leave(), manager.leave()]);
  await manager.leave();
  assert.equal(await usersOf(manager), 1);
  assert.equal(isRunning(one.pid), true);
  await other.leave();
  assert.equal(isRunning(one.pid), false);
});

test('leave() without a start does nothing, and leaves the process to its users', async (t) => {
  const spec = await sharedSpec(t);
  await new ProcessManager(spec).leave();
  assert.equal(existsSync(spec.stateDir), false);
  const user = new ProcessManager(spec);
  const { pid } = await user.start();
  await new ProcessManager(spec).leave();
  assert.equal(await usersOf(user), 1);
  assert.equal(isRunning(pid), true);
  await user.leave();
});

test('a manager that has left can join again', async (t) => {
  const manager = new ProcessManager(await sharedSpec(t));
  const pids = new Set<number>();
  for (let round = 1; round <= 5; round += 1) {
    const leaving = manager.leave();
    const { pid, reused } = await manager.start();
    await leaving;
    assert.equal(reused, false);
    assert.equal(await usersOf(manager), 1);
    pids.add(pid);
    if (round % 2 === 0) await manager.leave();
  }
  await manager.leave();
  assert.ok(pids.size >= 3);
  assert.equal(await usersOf(manager), 0);
});

for (const lifetime of ['detached', 'tied', undefined] as const) {
  test(`leave() with ${lifetime ?? 'default'} lifetime throws a TypeError that names the lifetime`, async (t) => {
    const spec = await redisSpec(t, lifetime === undefined ? {} : { lifetime });
    const manager = new ProcessManager(spec);
    await assert.rejects(manager.leave(), { name: 'TypeError', message: /"lifetime" must be "shared"/ });
    assert.equal((await manager.status()).users, undefined);
  });
}

test("supervise() with the lifetime 'shared' throws a TypeError", async (t) => {
  const manager = new ProcessManager(await sharedSpec(t));
  assert.throws(() => manager.supervise(), { name: 'TypeError', message: /"lifetime" must not be "shared"/ });
});

test('a start that fails leaves: no user is counted, and nothing runs', async (t) => {
  const failing = [
    { spec: { command: '/nonexistent/redis' }, error: CommandNotFoundError },
    { spec: { command: 'false', args: [] }, error: EarlyExitError },
    { spec: { command: 'sleep', args: ['300'], startTimeoutMs: 200 }, error: StartTimeoutError },
  ] as const;
  for (const { spec, error } of failing) {
    const manager = new ProcessManager({ ...(await sharedSpec(t)), ...spec });
    await assert.rejects(manager.start(), error);
    assert.equal(await usersOf(manager), 0, error.name);
    assert.equal(isLocked(manager.spec.lockFile), false);
  }
});

test('a start that is aborted leaves, and no user is counted', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 2_000 }, { lifetime: 'shared' });
  const manager = new ProcessManager(spec);
  const controller = new AbortController();
  const starting = manager.start({ signal: controller.signal });
  await eventually('one user is counted', async () => (await usersOf(manager)) === 1);
  controller.abort(new Error('no longer wanted'));
  await assert.rejects(starting, /no longer wanted/);
  assert.equal(await usersOf(manager), 0);
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('a second start that fails does not make its manager leave', async (t) => {
  const spec = await sharedSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  await assert.rejects(manager.start({ signal: AbortSignal.abort(new Error('too late')) }), /too late/);
  assert.equal(await usersOf(manager), 1);
  assert.equal(isRunning(pid), true);
  await manager.leave();
});

test('stop() from another process ends a shared process for all; its users stay users, and can start it again', async (t) => {
  const spec = await sharedSpec(t);
  const user = new ProcessManager(spec);
  const { pid } = await user.start();
  const remote = await startRemoteManager(t, spec);
  assert.equal((await remote.stop()).outcome, 'stopped');
  assert.equal((await user.status()).state, 'stopped');
  assert.equal(await usersOf(user), 1);
  const again = await user.start();
  assert.notEqual(again.pid, pid);
  await user.leave();
  assert.equal(isRunning(again.pid), false);
});

test('a shared manager that finds a detached process leaves it alone', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  const user = new ProcessManager({ ...spec, lifetime: 'shared' });
  const found = await user.start();
  assert.deepEqual([found.pid, found.reused], [pid, true]);
  assert.equal(await usersOf(user), 1);
  await user.leave();
  assert.equal(isRunning(pid), true);
  assert.equal(await accepts(spec.port), true);
  const remote = await startRemoteManager(t, { ...spec, lifetime: 'shared' });
  await remote.start();
  remote.kill();
  await remote.program.exited;
  assert.equal((await user.status()).state, 'running');
  assert.equal(await usersOf(user), 0);
});
