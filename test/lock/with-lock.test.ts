import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, type FileLock, isLocked, lockHolders, waitForLock, withLock } from '../../src/index.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

test('withLock runs the work under the lock, returns its result, and leaves the lock free', async (t) => {
  const path = join(temporaryFolder(t), 'a/x.lock');
  for (const work of [() => 5, async () => 5]) {
    const result = await withLock(path, async (lock) => {
      assert.deepEqual([lock.path, lock.held, isLocked(path)], [path, true, true]);
      return await work();
    });
    assert.deepEqual([result, isLocked(path)], [5, false]);
  }
});

test('withLock throws the error of the work, however it fails, and leaves the lock free', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const reason = { any: 'value' };
  const works = [
    () => {
      throw reason;
    },
    async () => {
      await delay(1);
      throw reason;
    },
  ];
  for (const work of works) {
    await assert.rejects(withLock(path, work), (error) => error === reason);
    assert.equal(isLocked(path), false);
  }
});

test('work that releases the lock itself, or hands it over, causes no error', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  await withLock(path, (lock) => lock.release());
  await withLock(path, (lock) => lock.handOver());
  assert.equal(isLocked(path), false);
});

test('of many calls of withLock, here and in another process, one works at a time', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startLockAgent(t);
  let atWork = 0;
  let done = 0;
  const work = async () => {
    atWork += 1;
    assert.deepEqual([atWork, await lockHolders(path)], [1, [process.pid]]);
    atWork -= 1;
    done += 1;
  };
  await agent.acquire(path);
  const all = Array.from({ length: 5 }, () => withLock(path, work));
  await delay(STILL_MS);
  assert.equal(done, 0);
  await agent.release();
  await Promise.all(all);
  assert.equal(done, 5);
});

test('withLock takes the options of waitForLock', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  await withLock(path, () => undefined, { mode: 0o640 });
  assert.equal(statSync(path).mode & 0o777, 0o640 & ~process.umask());
  const lock = acquireLock(path);
  const never = () => assert.fail('it has no lock');
  await assert.rejects(withLock(path, never, { timeoutMs: 0 }), { name: 'LockHeldError', path });
  const reason = new Error('enough');
  await assert.rejects(withLock(path, never, { signal: AbortSignal.abort(reason) }), (error) => error === reason);
  lock.release();
});

test('work that is not a function is a TypeError, and no file is created', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const wrong = 5 as unknown as () => void;
  await assert.rejects(withLock(path, wrong), /^TypeError: "work" must be a function, not 5/);
  await assert.rejects(waitForLock(path, { onWait: wrong }), /^TypeError: "onWait" must be a function, not 5/);
  assert.equal(existsSync(path), false);
});

test('onWait gets the holders once: one process, several processes, or this process itself', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const told: (readonly number[])[] = [];
  const onWait = (holders: readonly number[]) => told.push(holders);
  (await waitForLock(path, { onWait })).release();
  assert.deepEqual(told, [], 'it was free');
  const own = acquireLock(path);
  const waiting = withLock(path, () => undefined, { onWait });
  await eventually('onWait is called', () => told.length > 0);
  await delay(STILL_MS);
  own.release();
  await waiting;
  assert.deepEqual(told, [[process.pid]]);
  // Both flock(1) and the command that it runs hold the lock.
  const holder = startProgram(t, 'flock', [path, 'sh', '-c', 'echo held; exec sleep 60']);
  await holder.printed(/held/);
  const holders = await lockHolders(path);
  const second = waitForLock(path, { onWait });
  await eventually('onWait is called again', () => told.length > 1);
  assert.deepEqual([holders.length, told[1]], [2, holders]);
  for (const pid of holders) process.kill(pid, 'SIGKILL');
  (await second).release();
});

test('onWait is called before a call with timeoutMs 0 gives up, and not for an aborted call nor for processes that only ask', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const told: (readonly number[])[] = [];
  const onWait = (holders: readonly number[]) => told.push(holders);
  const lock = acquireLock(path);
  await assert.rejects(waitForLock(path, { onWait, timeoutMs: 0 }), { name: 'LockHeldError' });
  assert.deepEqual(told, [[process.pid]]);
  await assert.rejects(waitForLock(path, { onWait, signal: AbortSignal.abort() }), { name: 'AbortError' });
  const controller = new AbortController();
  const abort = () => controller.abort();
  const aborted = waitForLock(path, { onWait: abort, timeoutMs: 0, signal: controller.signal });
  await assert.rejects(aborted, { name: 'AbortError' }, 'the abort is the reason');
  lock.release();
  const asker = startProgram(t, 'sh', ['-c', `echo up; while :; do flock -s '${path}' true; done`]);
  await asker.printed(/up/);
  const locks: FileLock[] = [];
  for (let round = 0; round < 200; round += 1) {
    locks.push(await waitForLock(path, { onWait }));
    locks.at(-1)?.release();
  }
  assert.deepEqual([locks.length, told.length], [200, 1]);
});

test('an error that onWait throws ends the wait, and so does an abort after that call', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _lock = acquireLock(path);
  const reason = new Error('I will not wait');
  const refuse = () => {
    throw reason;
  };
  await assert.rejects(waitForLock(path, { onWait: refuse }), (error) => error === reason);
  const controller = new AbortController();
  const waiting = waitForLock(path, { onWait: () => controller.abort(reason), signal: controller.signal });
  await assert.rejects(waiting, (error) => error === reason);
});

test('onWait also gets the keeper of a shared lock', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const keeper = startProgram(t, 'flock', ['--no-fork', '-s', path, 'sh', '-c', 'echo held; exec sleep 60']);
  await keeper.printed(/held/);
  const told: (readonly number[])[] = [];
  const waiting = waitForLock(path, { onWait: (holders) => told.push(holders) });
  await eventually('onWait is called', () => told.length > 0);
  keeper.kill();
  (await waiting).release();
  assert.deepEqual(told, [[keeper.pid]]);
});
