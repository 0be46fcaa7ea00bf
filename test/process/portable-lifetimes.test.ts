/**
 * Tied, shared, supervised and ephemeral processes without /proc. The callers take their platform for macOS, and so ask
 * ps(1) and lsof(1).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLocked, lockHolders, ProcessManager, type Status, type StopResult } from '../../src/index.js';
import type { Had } from '../fixtures/ephemeral-caller.js';
import { callElsewhere, callOnDarwin, onDarwin } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { startFixture } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { redisSpec } from '../helpers/servers.js';
import { nothingIsLeft, ownKey, startUser } from '../helpers/shared.js';
import { SupervisorProcess } from '../helpers/supervisor-process.js';
import { groupEnds, startOwner } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

test('without /proc a tied process ends when its owner is killed, and a stop from elsewhere ends it, too', async (t) => {
  const owner = await startOwner(t, await redisSpec(t), 'stays', onDarwin);
  owner.program.kill();
  await groupEnds(owner.pid);

  const spec = await redisSpec(t, { lifetime: 'tied' });
  const other = await startOwner(t, spec, 'stays', onDarwin);
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
  await groupEnds(other.pid);
});

test('without /proc a shared process lives until its last user is gone, and its users are counted', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'shared' });
  const users = [await startRemoteManager(t, spec, onDarwin), await startRemoteManager(t, spec, onDarwin)] as const;
  const { pid } = await users[0].start();
  assert.equal((await users[1].start()).pid, pid);
  assert.equal((await callOnDarwin<Status>(t, 'status', spec)).users, 2);
  users[0].kill();
  await users[0].program.exited;
  assert.equal((await callOnDarwin<Status>(t, 'status', spec)).users, 1);
  assert.equal(isRunning(pid), true);
  users[1].kill();
  await groupEnds(pid);
});

test('without /proc a supervisor restarts the process, and goes on standby after a stop', async (t) => {
  const spec = await redisSpec(t);
  const program = startFixture(t, 'supervisor-process', [JSON.stringify(spec), '{}'], onDarwin);
  const supervisor = new SupervisorProcess(program);
  await eventually('the supervisor is watching', () => supervisor.state === 'watching');
  const { pid } = await new ProcessManager(spec).start();
  process.kill(pid, 'SIGKILL');
  await eventually('another process runs', async () => {
    const status = await new ProcessManager(spec).status();
    return status.state === 'running' && status.pid !== pid;
  });
  assert.equal((await new ProcessManager(spec).stop()).outcome, 'stopped');
  await eventually('the supervisor is on standby', () => supervisor.state === 'standby');
  supervisor.end();
  await program.ended();
});

test('without /proc ephemeral and shared instances of a test run start, answer and leave no process', async (t) => {
  const caller = startFixture(t, 'ephemeral-caller', ['2'], onDarwin);
  const { instances } = await caller.message<Had>();
  assert.equal(new Set(instances.map(({ port }) => port)).size, 2);
  caller.kill();
  for (const { pid } of instances) await groupEnds(pid);

  const key = ownKey();
  const users = [await startUser(t, { key }, onDarwin), await startUser(t, { key }, onDarwin)] as const;
  const [first, second] = [await users[0].join(), await users[1].join()];
  assert.deepEqual([second.pid, second.reused], [first.pid, true]);
  await users[0].leave();
  assert.equal(isRunning(first.pid), true);
  await users[1].leave();
  await nothingIsLeft(key, [users[0].program.pid, users[1].program.pid]);
});

test('without /proc the usage comes from the list of processes', async (t) => {
  const spec = await redisSpec(t);
  await new ProcessManager(spec).start();
  const { usage } = await callOnDarwin<Status>(t, 'usage', spec);
  assert.ok(usage !== undefined && usage.cpu >= 0 && usage.memory >= 0 && usage.memory < 100, JSON.stringify(usage));
});

test('without /proc and lsof the lock is known to be held, but not by whom, and the error says what to install', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const { lockFile } = manager.spec;
  assert.equal(isLocked(lockFile), true);
  const poor = { ...onDarwin, env: { ...process.env, PATH: pathWithOnly(t, 'ps') } };
  const expected = { name: 'LockUnavailableError', message: /lsof cannot be run .*install lsof/ };
  await assert.rejects(callElsewhere(t, 'lockHolders', { ...spec, lockFile }, poor), expected);
  await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, poor), expected);
  assert.deepEqual(await lockHolders(lockFile), [pid]);
});
