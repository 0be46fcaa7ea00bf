/** Several starts of one manager at the same time are one user, which leaves only when all of them have failed. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { tryFlock } from '../../src/lock/flock.js';
import { journalEntries } from '../helpers/journal.js';
import { isRunning, logged, reachesState } from '../helpers/outside-view.js';
import { seededRandom } from '../helpers/random.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { freePort, rounds } from '../helpers/resources.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';
import { groupEnds } from '../helpers/tied.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';
import { livingInGroup } from '../helpers/witness.js';

test('a start that fails after another one of the same manager has succeeded does not make the manager leave', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared' }));
  let failed = 0;
  for (let round = 1; failed < rounds(20) && round <= 100; round += 1) {
    const controller = new AbortController();
    const [first, second] = [manager.start(), manager.start({ signal: controller.signal })];
    const { pid } = await Promise.race([first, second]);
    controller.abort(new Error('not wanted'));
    const outcomes = await Promise.allSettled([first, second]);
    if (outcomes.some(({ status }) => status === 'rejected')) failed += 1;
    if (outcomes[0].status === 'fulfilled') {
      assert.equal((await manager.status()).users, 1);
      assert.equal(isRunning(pid), true);
    }
    await manager.leave();
    await groupEnds(pid);
  }
  assert.ok(failed > 0);
});

test('when several starts of one manager are all aborted at random instants no user is counted and nothing runs', async (t) => {
  const random = seededRandom(t);
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared' }));
  for (let round = 1; round <= rounds(200); round += 1) {
    const controllers = [1, 2, 3].map(() => new AbortController());
    const starts = controllers.map(({ signal }) => manager.start({ signal }));
    const aborting = controllers.map(async (controller) => {
      await delay(random.between(0, 25));
      controller.abort(new Error('not wanted'));
    });
    const outcomes = await Promise.allSettled(starts);
    await Promise.all(aborting);
    const isIn = outcomes.some(({ status }) => status === 'fulfilled');
    const report = await manager.status();
    assert.deepEqual([report.users, report.state], isIn ? [1, 'running'] : [0, 'stopped'], `round ${round}`);
    await manager.leave();
    assert.equal((await manager.status()).users, 0);
  }
});

test('a start that waits for the end of the process is ended by its own signal, and not by that of another start', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared' }));
  await manager.start();
  await manager.leave();
  // This lock stands for the watcher that ends the process after its last user.
  const fd = openSync(manager.spec.lockFile.replace(/lock$/, 'users'), 'r+');
  assert.equal(tryFlock(fd, 'ex'), true);
  const [one, other] = [new AbortController(), new AbortController()];
  const starts = [one, other].map(({ signal }) => manager.start({ signal }));
  const waiting: unknown[] = [];
  manager.on('waiting', (detail) => waiting.push(detail));
  const third = manager.start();
  one.abort(new Error('the first'));
  await assert.rejects(starts[0] as Promise<unknown>, /the first/);
  other.abort(new Error('the second'));
  await assert.rejects(starts[1] as Promise<unknown>, /the second/);
  assert.equal(await Promise.race([third, delay(STILL_MS, 'waits')]), 'waits');
  assert.deepEqual(waiting, [{ for: 'stop', pid: undefined }], 'the third start alone has waited for so long');
  closeSync(fd);
  const { pid } = await third;
  assert.equal((await manager.status()).users, 1);
  await manager.leave();
  assert.equal(isRunning(pid), false);
});

test('a start does not reuse the process that the last user was ending when it was killed', async (t) => {
  const spec = await slowToEnd(t, 1_500);
  const lastUser = await startRemoteManager(t, spec);
  const { pid } = await lastUser.start();
  // A last user or a start can be quicker than the watcher. A stop continues the watcher, so it is suspended twice.
  // Its helper could still take the lock of the users on its way into the suspension, so that end is waited for.
  const suspendWatcher = async () => {
    const members = livingInGroup(pid).filter((member) => member !== pid);
    for (const member of members) process.kill(member, 'SIGSTOP');
    for (const member of members) await reachesState(member, 'T');
  };
  await suspendWatcher();
  const leaving = lastUser.leave().catch(() => undefined);
  const manager = new ProcessManager(spec);
  await logged(manager.spec.logFile, /asked/);
  await suspendWatcher();
  lastUser.kill('SIGKILL');
  const next = await manager.start();
  assert.deepEqual([next.reused, next.pid !== pid, isRunning(pid), isRunning(next.pid)], [false, true, false, true]);
  await leaving;
  await manager.leave();
});

test('leave() also ends the use of a start that was under way at its call, and not that of a later one', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared' }));
  const first = manager.start();
  const leaving = manager.leave();
  const second = manager.start();
  const { pid } = await first;
  await leaving;
  await groupEnds(pid);
  const next = await second;
  assert.deepEqual([next.reused, (await manager.status()).users], [false, 1]);
  await manager.leave();
  await groupEnds(next.pid);
});

test('starts and leaves in one turn take effect in the order of their calls', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared' }));
  const { pid } = await manager.start();
  const calls = [manager.leave(), manager.leave(), manager.start(), manager.leave(), manager.leave(), manager.start()];
  await Promise.all(calls);
  assert.deepEqual([isRunning(pid), (await manager.status()).users], [false, 1]);
  await Promise.all([manager.leave(), manager.leave()]);
  assert.equal((await manager.status()).state, 'stopped');
});

test('a start of another lifetime waits while the last user ends the process, and sends it no second signal', async (t) => {
  const spec = await slowToEnd(t, 1_000);
  const lastUser = new ProcessManager(spec);
  const { pid } = await lastUser.start();
  const leaving = lastUser.leave();
  await logged(lastUser.spec.logFile, /asked/);
  const other = new ProcessManager({ ...spec, lifetime: 'detached', stopTimeoutMs: 100 });
  const next = await other.start();
  await leaving;
  assert.deepEqual([next.reused, isRunning(pid), isRunning(next.pid)], [false, false, true]);
  assert.equal(readFileSync(lastUser.spec.logFile, 'utf8').match(/asked/g)?.length, 1);
  const [exit] = journalEntries(spec, 'exit');
  assert.deepEqual([exit?.pid, exit?.signal], [pid, null], 'it was not killed');
});

/** A shared server that says "asked" on SIGTERM, and ends so many milliseconds later. */
async function slowToEnd(t: TestContext, endsAfterMs: number): Promise<ProcessSpec> {
  const port = await freePort();
  const script =
    `process.on("SIGTERM", () => { console.log("asked"); setTimeout(() => process.exit(), ${endsAfterMs}); });` +
    `net.createServer().listen(${port}, "127.0.0.1")`;
  return sleepSpec(t, { command: process.execPath, args: ['-e', script], port, lifetime: 'shared' });
}

test('a start that waits for the leave() of its own manager is ended by its signal', async (t) => {
  const manager = new ProcessManager(await slowToEnd(t, 1_500));
  const { pid } = await manager.start();
  const leaving = manager.leave();
  const reason = new Error('not wanted');
  await assert.rejects(manager.start({ signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const waiting = manager.start({ signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  assert.equal(isRunning(pid), true, 'it has not ended yet');
  await leaving;
  assert.equal(isRunning(pid), false);
});

test('a shared start that fails beside another holder of the lock has the reason of that start, and disturbs no start', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: 300 });
  const shared = new ProcessManager({ ...spec, lifetime: 'shared' });
  const lock = acquireLock(shared.spec.lockFile);
  await assert.rejects(shared.start(), { name: 'UnhealthyError' });
  lock.release();
  let prepared = 0;
  let finish: () => void = () => assert.fail('it is not asked yet');
  const prepare = () => {
    prepared += 1;
    return new Promise<void>((resolve) => {
      finish = resolve;
    });
  };
  const detached = new ProcessManager({ ...spec, startTimeoutMs: 10_000, prepare });
  const starting = detached.start();
  await eventually('it prepares', () => prepared === 1);
  const reason = new Error('not wanted');
  const controller = new AbortController();
  const refused = shared.start({ signal: controller.signal });
  await once(shared, 'waiting');
  controller.abort(reason);
  await assert.rejects(refused, reason);
  assert.equal((await shared.status()).users, 0);
  finish();
  const { pid } = await starting;
  assert.deepEqual([prepared, isRunning(pid)], [1, true]);
  await detached.stop();
});
