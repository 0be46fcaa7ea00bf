import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isLocked, ProcessManager } from '../../src/index.js';
import { startBystanders, threadOf } from '../helpers/bystanders.js';
import { isRunningProcess, startSecond, watchSignals } from '../helpers/evidence.js';
import { type Place, poisons } from '../helpers/poisons.js';
import { redisPid } from '../helpers/redis.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';

test('there are at least forty poisons', () => {
  assert.ok(Object.keys(poisons).length >= 40);
});

test('a poisoned PID file changes no answer and harms nobody', async (t) => {
  const bystanders = await startBystanders(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  // While the process is stopped its own PID is the PID of the last run.
  let own = await ownOf((await manager.start()).pid);
  await manager.stop();

  for (const [name, write] of Object.entries(poisons)) {
    await t.test(name, async (t) => {
      const signals = watchSignals(t);
      const poison = () => write({ pidFile: manager.spec.pidFile, own, bystanders }, t);

      await poison();
      const { state, pid: none } = await manager.status();
      assert.deepEqual([state, none], ['stopped', undefined]);
      assert.equal((await manager.stop()).outcome, 'not-running');

      await poison();
      const { pid, reused } = await manager.start();
      own = await ownOf(pid);
      assert.deepEqual([await redisPid(spec.port), reused], [pid, false]);
      assert.equal((await manager.status()).pid, pid);

      await poison();
      const { state: stateNow, pid: sameOne, checks } = await manager.status();
      assert.deepEqual([stateNow, sameOne, checks.identity], ['running', pid, true]);
      assert.equal(await manager.isRunning(), true);
      const again = await manager.start();
      assert.deepEqual([again.pid, again.reused], [pid, true]);
      assert.equal((await manager.status()).pid, pid);
      assert.deepEqual(signals.targets(), []);

      await poison();
      assert.equal((await manager.stop()).outcome, 'stopped');
      assert.deepEqual(signals.targets(), [pid]);
      assert.equal(isRunningProcess(pid), false);
      assert.equal(isLocked(manager.spec.lockFile), false);
      await poison();
      assert.equal((await manager.status()).state, 'stopped');
      await bystanders.assertUnharmed();
    });
  }
});

for (const seconds of [-3600, 3600]) {
  test(`a process whose PID file is ${seconds} s off its start time is running, and start() returns it`, async (t) => {
    const manager = new ProcessManager(sleepSpec(t));
    const { pid } = await manager.start();
    const [, name, startTime] = readFileSync(manager.spec.pidFile, 'utf8').split('\n');
    writeFileSync(manager.spec.pidFile, `${pid}\n${name}\n${Number(startTime) + seconds}\n`);
    const { state, pid: reported } = await manager.status();
    assert.deepEqual([state, reported], ['running', pid]);
    const again = await manager.start();
    assert.deepEqual([again.pid, again.reused, isRunningProcess(pid)], [pid, true, true]);
  });
}

async function ownOf(pid: number): Promise<Place['own']> {
  return { pid, startTime: startSecond(pid), threadId: await threadOf(pid) };
}
