/**
 * How the watcher waits for the last user: its text under each shell that can be /bin/sh, with flock(1), with perl, and
 * with neither.
 */
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FlockBindingError, ProcessManager } from '../../src/index.js';
import { isRunning, logged, stateOf } from '../helpers/outside-view.js';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { memoryOf } from '../helpers/shared.js';
import { argumentsOf, descriptorsOf, groupEnds, settledDescriptorsOf, watcherOf } from '../helpers/tied.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';
import { SHELLS, startWatchedByUsers } from '../helpers/watched.js';
import { livingInGroup } from '../helpers/witness.js';

/** The memory that the design allows for all helpers of a shared process. */
const HELPERS_KIB = 4 * 1024;

/** The PID of the process in the group that waits for the lock. */
async function waiterOf(pid: number): Promise<number> {
  const isWaiter = (member: number) =>
    ['flock', 'perl'].includes(basename(argumentsOf(member)[0] ?? '')) && stateOf(member) === 'S';
  return await eventually(`a process of group ${pid} waits for the lock`, () => livingInGroup(pid).find(isWaiter));
}

async function startShared(t: TestContext, changes: Parameters<typeof redisSpec>[1] = {}) {
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared', ...changes }));
  const { pid } = await manager.start();
  return { manager, pid, watcher: watcherOf(pid), waiter: await waiterOf(pid) };
}

for (const shell of SHELLS) {
  for (const tool of ['flock', 'perl'] as const) {
    test(`${shell.join(' ')} with ${tool}: the server lives as long as somebody keeps the users file locked`, async (t) => {
      const { program, lockFile, usersFile, leave } = await startWatchedByUsers(t, shell, { tool });
      assert.deepEqual(argumentsOf(program.pid), ['sleep', '300']);
      // The server does not have the users file of the watcher open, and the watcher does not have the lock of the server.
      const { 3: serverLock, 4: atFour, ...others } = await settledDescriptorsOf(program.pid);
      assert.deepEqual([serverLock, atFour], [lockFile, undefined]);
      assert.ok(!Object.values(others).includes(usersFile));
      const waiter = await waiterOf(program.pid);
      assert.equal(descriptorsOf(waiter)[3], undefined);
      await delay(STILL_MS);
      assert.equal(program.isAlive, true);
      leave();
      assert.equal((await program.ended()).signal, 'SIGTERM');
      await groupEnds(program.pid);
    });
  }
}

test('without flock(1) on PATH perl waits, and the server ends when the last user is killed', async (t) => {
  const PATH = pathWithOnly(t, 'redis-server', 'perl', 'sleep');
  const spec = await redisSpec(t, { lifetime: 'shared' });
  const user = await startRemoteManager(t, spec, { env: { ...process.env, PATH } });
  const { pid } = await user.start();
  assert.match(argumentsOf(await waiterOf(pid))[0] ?? '', /\/perl$/);
  user.kill();
  await groupEnds(pid);
});

test('without flock(1) and perl FlockBindingError says what to install, nothing is spawned, and no user is counted', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'shared' });
  const user = await startRemoteManager(t, spec, { env: { ...process.env, PATH: pathWithOnly(t, 'redis-server') } });
  await assert.rejects(user.start(), {
    name: 'FlockBindingError',
    code: new FlockBindingError('').code,
    message: /flock\(1\).*util-linux.*perl/,
  });
  assert.deepEqual(
    user.events.filter(({ event }) => event === 'spawned'),
    [],
  );
  assert.equal((await new ProcessManager(spec).status()).state, 'stopped');
  assert.equal((await new ProcessManager(spec).status()).users, 0);
});

test('killing a waiting flock ends no server that has a user, and the flock is replaced', async (t) => {
  const { manager, pid, waiter } = await startShared(t);
  process.kill(waiter, 'SIGKILL');
  await eventually('the waiting flock has ended', () => !isRunning(waiter));
  const other = await waiterOf(pid);
  assert.notEqual(other, waiter);
  assert.equal((await manager.status()).state, 'running');
  await manager.leave();
  await groupEnds(pid);
});

test('the server ends although the waiting flock is killed together with the last user', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'shared' });
  const user = await startRemoteManager(t, spec);
  const { pid } = await user.start();
  process.kill(await waiterOf(pid), 'SIGKILL');
  user.kill();
  await groupEnds(pid);
});

test('signals that a server handles end neither the watcher nor its waiter', async (t) => {
  const { manager, pid, watcher, waiter } = await startShared(t);
  for (const helper of [watcher, waiter]) {
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const) {
      process.kill(helper, signal);
    }
  }
  // By the end of a program that was started after the signals, each signal has been delivered.
  await startProgram(t, 'true').ended();
  assert.ok(isRunning(watcher) && isRunning(waiter));
  assert.equal((await manager.status()).state, 'running');
  await manager.leave();
  await groupEnds(pid);
});

test('a shared server that ignores SIGTERM is killed after its grace, and a new user waits for its end', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { lifetime: 'shared', stopTimeoutMs: 2_000 });
  const user = await startRemoteManager(t, spec);
  const { pid } = await user.start();
  await logged(new ProcessManager(spec).spec.logFile, /listening/);
  user.kill();
  await logged(new ProcessManager(spec).spec.logFile, /ignoring SIGTERM/);
  assert.equal(isRunning(pid), true);
  const newcomer = new ProcessManager(spec);
  const again = await newcomer.start();
  assert.equal(isRunning(pid), false);
  assert.notEqual(again.pid, pid);
  await newcomer.leave();
  await groupEnds(again.pid);
});

test('the helpers of a shared process use at most 4 MiB in all', async (t) => {
  const { manager, pid, watcher, waiter } = await startShared(t);
  assert.deepEqual(livingInGroup(pid).toSorted(), [pid, watcher, waiter].toSorted());
  const [shell, flock] = [memoryOf(watcher), memoryOf(waiter)];
  t.diagnostic(`sh: RSS ${shell.rss}, PSS ${shell.pss} KiB; flock: RSS ${flock.rss}, PSS ${flock.pss} KiB`);
  assert.ok(shell.rss + flock.rss <= HELPERS_KIB, `${shell.rss + flock.rss} KiB`);
  await manager.leave();
});
