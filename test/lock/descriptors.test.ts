import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { startFixture } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

const openDescriptors = () => readdirSync('/proc/self/fd').length;
const FEW = ['/bin/sh', '-c', 'ulimit -n 60; exec "$@"', 'sh'];

test('a child that is not given the descriptor does not get it, and does not keep the lock', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using lock = acquireLock(path);
  const script = `ls -l /proc/self/fd; grep flags /proc/${process.pid}/fdinfo/${lock.fd}`;
  const { stdout } = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8' });
  assert.ok(!stdout.includes(path), stdout);
  const O_CLOEXEC = 0o2_000_000;
  assert.equal(Number.parseInt(stdout.match(/flags:\s*(\d+)/)?.[1] ?? '0', 8) & O_CLOEXEC, O_CLOEXEC);
});

test('the descriptor is above 3 even where 3 is free, as in a forked child that disconnected', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const child = startFixture(t, 'disconnected-locker', [path]);
  const [, next, ...locks] = await child.printed(/next (\d+), locks (\d+) (\d+), then (\d+)/);
  const then = locks.pop();
  assert.equal(next, '3', 'the next descriptor is 3');
  assert.ok(
    locks.every((fd) => Number(fd) > 3),
    `the locks are at ${locks}`,
  );
  assert.equal(then, '3', 'and it is free afterwards');
});

test('no call leaves a descriptor open', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.lock');
  acquireLock(path).release();
  const before = openDescriptors();
  for (let i = 0; i < 50; i += 1) {
    using lock = acquireLock(path);
    assert.throws(() => acquireLock(path), { code: 'ERR_LOCK_HELD' });
    assert.equal(isLocked(path), true);
    assert.equal(isLocked(join(folder, 'missing.lock')), false);
    await assert.rejects(waitForLock(path, { timeoutMs: 0 }), { code: 'ERR_LOCK_HELD' });
    assert.throws(() => acquireLock(folder), { code: 'ERR_LOCK_UNAVAILABLE' });
    assert.throws(() => isLocked(folder), { code: 'ERR_LOCK_UNAVAILABLE' });
    unlinkSync(path);
    acquireLock(path).handOver();
    assert.equal(lock.isIntact(), false);
  }
  assert.equal(openDescriptors(), before);
});

test('with no descriptor left the lock is unavailable, with one left it is acquired, and no descriptor leaks', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startLockAgent(t, { wrapper: FEW });
  await agent.acquire(path);
  await agent.release();
  await agent.ask({ do: 'leaveDescriptors', leave: 0 });
  for (let i = 0; i < 5; i += 1) {
    const expected = { name: 'LockUnavailableError', causeCode: 'EMFILE', path };
    await assert.rejects(agent.acquire(path), expected);
    await assert.rejects(agent.isLocked(path), expected);
    await assert.rejects(agent.ask({ do: 'wait', path }), expected);
  }
  await agent.ask({ do: 'leaveDescriptors', leave: 'all' });
  await agent.ask({ do: 'leaveDescriptors', leave: 1 });
  for (let i = 0; i < 5; i += 1) {
    await agent.acquire(path);
    await agent.release();
    assert.equal(await agent.isLocked(path), false);
  }
});

for (const leave of [0, 1, 2, 3]) {
  test(`a first call with ${leave} descriptors left locks or is unavailable, and later calls lock`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const agent = startLockAgent(t, { wrapper: FEW });
    await agent.ask({ do: 'leaveDescriptors', leave });
    const first = await agent.acquire(path).catch((error) => error);
    if (first instanceof Error) assert.equal(first.name, 'LockUnavailableError');
    assert.ok(leave > 0 || first instanceof Error);
    await agent.ask({ do: 'leaveDescriptors', leave: 'all' });
    if (first instanceof Error) await agent.acquire(path);
    assert.equal(isLocked(path), true);
    await agent.release();
    assert.equal(isLocked(path), false);
  });
}
