/** The server ends while it has users: the next call of a user starts it again on the same port. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { startShared } from '../../src/index.js';
import { killUnlessGone } from '../helpers/evidence.js';
import { isRunning, logged } from '../helpers/outside-view.js';
import { redisPid } from '../helpers/redis.js';
import { rounds } from '../helpers/resources.js';
import { nothingIsLeft, ownKey, processesOf, redisPreset, startUsers } from '../helpers/shared.js';
import { watcherOf } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

test('when the server is killed under three users, the next call of each gives the same new PID and the same port', async (t) => {
  const key = ownKey();
  const users = await startUsers(t, 3, { key });
  const before = await Promise.all(users.map((user) => user.join()));
  let [{ pid: old, port, stateDir }] = before as [(typeof before)[number]];
  for (let round = 1; round <= rounds(20); round += 1) {
    await kill(old);
    const after = await Promise.all(users.map((user) => user.join()));
    const [{ pid }] = after as [(typeof after)[number]];
    assert.notEqual(pid, old);
    assert.deepEqual(
      after.map((joined) => joined.pid),
      [pid, pid, pid],
    );
    assert.deepEqual(
      after.map((joined) => joined.port),
      [port, port, port],
    );
    assert.equal(await redisPid(port), pid);
    old = pid;
    await Promise.all(users.map((user) => user.leave()));
    // The users have joined twice, so leaving once does not end the server.
    assert.equal(await redisPid(port), pid);
  }
  await Promise.all(users.map((user) => user.leave()));
  await nothingIsLeft(key);
  assert.equal(existsSync(stateDir), false);
});

test('after a crash the old watcher ends only itself, and only when the last user leaves', async () => {
  const key = ownKey();
  const first = await startShared(redisPreset, { key });
  // The watcher may start its flock only after the server is ready.
  const watchers = await eventually('the watcher and its flock run', () => {
    const others = processesOf(key).filter((pid) => ![first.pid, process.pid].includes(pid));
    assert.ok(others.length <= 2, `${others}`);
    return others.length === 2 ? others : undefined;
  });
  await kill(first.pid);
  const second = await startShared(redisPreset, { key });
  await second.leave();
  assert.equal(await redisPid(second.port), second.pid);
  assert.ok(watchers.every(isRunning));
  await first.leave();
  assert.equal(isRunning(second.pid), false);
  await eventually('the old watcher has ended', () => !watchers.some(isRunning));
  await nothingIsLeft(key);
});

test('the last user that leaves ends a server whose watcher was killed, and the next call starts a new one', async (t) => {
  const key = ownKey();
  const [user] = await startUsers(t, 1, { key });
  const { pid } = await user.join();
  process.kill(watcherOf(pid), 'SIGKILL');
  user.kill();
  await user.program.exited;
  const found = await startShared(redisPreset, { key });
  assert.deepEqual([found.pid, found.reused], [pid, true]);
  await found.leave();
  assert.equal(isRunning(pid), false);
  assert.equal(existsSync(found.stateDir), false);
  const next = await startShared(redisPreset, { key });
  assert.equal(await redisPid(next.port), next.pid);
  await next.leave();
  await nothingIsLeft(key);
});

test('a crash of the server is in its log, which can be read until the last user leaves', async (t) => {
  const key = ownKey();
  const one = await startShared(redisPreset, { key });
  const { logFile } = one.manager.spec;
  // A redis that is still starting can be within malloc, where its handler of SIGABRT would block for good.
  assert.equal(await redisPid(one.port), one.pid);
  process.kill(one.pid, 'SIGABRT');
  await logged(logFile, /crashed by signal/);
  killUnlessGone(one.pid); // The handler can block in the rest of its report, too.
  await eventually('redis has ended', () => !isRunning(one.pid));
  const other = await startShared(redisPreset, { key });
  assert.notEqual(other.pid, one.pid);
  await one.leave();
  assert.equal(other.manager.spec.logFile, logFile);
  const logText = readFileSync(logFile, 'utf8');
  assert.match(logText, /crashed by signal/);
  assert.ok((await other.manager.logTail()).length > 0);
  await other.leave();
  assert.equal(existsSync(logFile), false);
  t.diagnostic(`${logText.split('\n').length} lines`);
});

test('stop() ends the server for all users, and a call of one of them starts it again on the same port', async () => {
  const key = ownKey();
  const one = await startShared(redisPreset, { key });
  const other = await startShared(redisPreset, { key });
  await other.manager.stop();
  assert.equal(isRunning(one.pid), false);
  assert.equal((await one.manager.status()).state, 'stopped');
  assert.equal((await one.manager.status()).users, 2);
  const again = await one.manager.start();
  assert.equal(await redisPid(one.port), again.pid);
  assert.equal((await one.manager.status()).users, 2);
  await one.leave();
  assert.equal(isRunning(again.pid), true);
  await other.leave();
  assert.equal(isRunning(again.pid), false);
  await nothingIsLeft(key);
  assert.equal(existsSync(one.stateDir), false);
});

/** Waits until the killed server is gone, because until then it may be taken for a running one. */
async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await eventually(`PID ${pid} has ended`, () => !isRunning(pid), { everyMs: 1 });
}
