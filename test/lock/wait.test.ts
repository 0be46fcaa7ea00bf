import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { eventually, MUST_HAPPEN_MS, STILL_MS } from '../helpers/waiting.js';

const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };

/** Rejects when the promise takes longer than anything in this file may take. */
function inTime<T>(promise: Promise<T>): Promise<T> {
  const late = delay(MUST_HAPPEN_MS, undefined, { ref: false }).then(() => assert.fail('took too long'));
  return Promise.race([promise, late]);
}

/** Another process keeps LOCK_SH until the test is over or the returned function is awaited. */
async function keepSharedLock(t: TestContext, path: string): Promise<() => Promise<void>> {
  writeFileSync(path, '');
  const keeper = startProgram(t, 'flock', ['--no-fork', '-s', path, 'sh', '-c', 'echo held; exec sleep 60']);
  await keeper.printed(/held/);
  return async () => {
    keeper.kill();
    await keeper.ended();
  };
}

test('waitForLock acquires a free lock and creates its folders and file', async (t) => {
  const path = join(temporaryFolder(t), 'a/b/x.lock');
  for (const options of [{}, { timeoutMs: 0 }, { timeoutMs: 10 }, { timeoutMs: Number.POSITIVE_INFINITY }]) {
    using lock = await inTime(waitForLock(path, options));
    assert.equal(lock.held && isLocked(path), true);
  }
});

test('waitForLock with timeoutMs 0 is refused at once while the lock is held', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _lock = acquireLock(path);
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 1);
  await assert.rejects(waitForLock(path, { timeoutMs: 0 }), { ...heldError, path });
  clearInterval(timer);
  assert.equal(turns, 0, 'it waited for nothing');
});

test('waitForLock waits for its whole timeout and then ends', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _lock = acquireLock(path);
  const begun = performance.now();
  await assert.rejects(inTime(waitForLock(path, { timeoutMs: 120 })), { ...heldError, path });
  assert.ok(performance.now() - begun >= 119);
});

for (const timeoutMs of [Number.NaN, -1, Number.NEGATIVE_INFINITY, '5', null] as number[]) {
  test(`timeoutMs ${timeoutMs} (${typeof timeoutMs}) is a TypeError, also when the lock is free`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    await assert.rejects(waitForLock(path, { timeoutMs }), {
      name: 'TypeError',
      message: /^"timeoutMs" must be a number of milliseconds, 0 or more, not /,
    });
    assert.equal(isLocked(path), false);
  });
}

test('a signal that is aborted before the call ends the wait with its own reason, even when the lock is free', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const reason = new Error('enough');
  await assert.rejects(waitForLock(path, { signal: AbortSignal.abort(reason) }), (error) => error === reason);
  await assert.rejects(waitForLock(path, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  await assert.rejects(waitForLock(path, { signal: AbortSignal.abort('text') }), (error) => error === 'text');
});

test('a signal that is aborted during the wait ends it with its own reason, and the lock is not acquired later', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const lock = acquireLock(path);
  const controller = new AbortController();
  const reason = { any: 'value' };
  const waiting = waitForLock(path, { signal: controller.signal });
  await delay(20);
  controller.abort(reason);
  lock.release();
  await assert.rejects(inTime(waiting), (error) => error === reason);
  await delay(STILL_MS);
  assert.equal(isLocked(path), false);
});

test('AbortSignal.timeout() ends the wait with a TimeoutError', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _lock = acquireLock(path);
  await assert.rejects(inTime(waitForLock(path, { signal: AbortSignal.timeout(30) })), { name: 'TimeoutError' });
});

test('a waiter gets the lock when the holder releases it, and when the holder is killed', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const holder = startLockAgent(t);
  await holder.acquire(path);
  const first = waitForLock(path);
  await delay(STILL_MS);
  await holder.release();
  (await inTime(first)).release();

  await holder.acquire(path);
  const second = waitForLock(path);
  holder.program.kill();
  using lock = await inTime(second);
  assert.equal(lock.held, true);
});

test('of many waiters each gets the lock once, one at a time', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const first = acquireLock(path);
  let holders = 0;
  const waiters = Array.from({ length: 20 }, async () => {
    using lock = await waitForLock(path);
    holders += 1;
    assert.equal(holders, 1);
    await delay(1);
    assert.equal(lock.held, true);
    holders -= 1;
  });
  first.release();
  await inTime(Promise.all(waiters));
});

test('waiting does not block the event loop, neither beside a held lock nor beside a shared one', async (t) => {
  const folder = temporaryFolder(t);
  using held = acquireLock(join(folder, 'held.lock'));
  const shared = join(folder, 'shared.lock');
  await keepSharedLock(t, shared);
  for (const path of [held.path, shared]) {
    // An idle machine gives about 280 turns. A wait that blocks inside a call gives a handful, in every attempt.
    await eventually(
      `the event loop makes 28 turns while waiting for ${path}`,
      async () => (await turnsWhileWaiting(path)) >= 28,
    );
  }
});

/**
 * How many turns of 1 ms the event loop gets during a wait. There are also few when this process is not scheduled
 * meanwhile.
 */
async function turnsWhileWaiting(path: string): Promise<number> {
  const controller = new AbortController();
  const waiting = waitForLock(path, { signal: controller.signal });
  const begun = performance.now();
  let turns = 0;
  while (performance.now() - begun < 2 * STILL_MS) {
    await delay(1);
    turns += 1;
  }
  controller.abort();
  await assert.rejects(inTime(waiting), { name: 'AbortError' });
  return turns;
}

test('a wait beside a shared lock gets the lock when the shared lock is released', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const giveBack = await keepSharedLock(t, path);
  const waiting = waitForLock(path);
  await delay(2 * STILL_MS);
  assert.equal(isLocked(path), false, 'it is still waiting');
  await giveBack();
  (await inTime(waiting)).release();
});

test('a shared lock that is kept counts as a holder after a while', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const giveBack = await keepSharedLock(t, path);
  const times = [1, 2, 3].map(() => {
    const begun = performance.now();
    assert.throws(() => acquireLock(path), { ...heldError, message: /shared lock/ });
    return performance.now() - begun;
  });
  // It takes about 140 ms on an idle machine; a stall of the machine makes one of them longer.
  const took = Math.min(...times);
  assert.ok(took >= 100 && took < 5_000, `${times} ms`);
  await assert.rejects(inTime(waitForLock(path, { timeoutMs: 0 })), { ...heldError, message: /shared lock/ });
  await giveBack();
  acquireLock(path).release();
});

test('a wait beside a shared lock is refused even if the clock stands still', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  await keepSharedLock(t, path);
  const agent = startLockAgent(t, { nodeArgs: ['--require', plainFixture('stopped-clock.cjs')] });
  await assert.rejects(agent.acquire(path), { ...heldError, message: /shared lock/ });
  await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 0 }), { ...heldError, message: /shared lock/ });
});
