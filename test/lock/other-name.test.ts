/** A lock file that has another name, by a hard link or a bind mount: the holder is found by device and inode. */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, isLocked, lockHolders, ProcessManager } from '../../src/index.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';

test('hard-linked: lockHolders() finds the holder under either name', async (t) => {
  const folder = temporaryFolder(t);
  const [one, other] = [join(folder, 'one.lock'), join(folder, 'other.name')];
  writeFileSync(one, '');
  linkSync(one, other);
  const agent = startLockAgent(t);
  await agent.acquire(one);
  assert.deepEqual(await lockHolders(other), [agent.program.pid]);
  assert.deepEqual(await lockHolders(one), [agent.program.pid]);
  await agent.release();
  assert.deepEqual(await lockHolders(other), []);
  using _lock = acquireLock(other);
  assert.deepEqual(await lockHolders(one), [process.pid]);
});

test('hard-linked: lockHolders() ignores the holder of another file with the same name', async (t) => {
  const folder = temporaryFolder(t);
  const [one, other] = [join(folder, 'one.lock'), join(folder, 'sub/x.lock')];
  mkdirSync(dirname(other));
  writeFileSync(one, '');
  linkSync(one, other);
  const stranger = startLockAgent(t);
  await stranger.acquire(join(folder, 'x.lock'));
  const holder = startLockAgent(t);
  await holder.acquire(one);
  assert.deepEqual(await lockHolders(other), [holder.program.pid]);
});

test('bind-mounted: lockHolders() names the holder', { skip: unlessCapable('sys_admin') }, async (t) => {
  const folder = temporaryFolder(t);
  const [one, other] = [join(folder, 'one.lock'), join(folder, 'mounted')];
  for (const path of [one, other]) writeFileSync(path, '');
  const agent = startLockAgent(t);
  await agent.acquire(one);
  const wrapper = ['unshare', '--mount', '/bin/sh', '-c', 'mount --bind "$0" "$1" && shift && exec "$@"', one, other];
  const spec = { name: 'x', command: 'sleep', stateDir: folder, lockFile: other };
  assert.deepEqual(await callElsewhere(t, 'lockHolders', spec, { wrapper }), [agent.program.pid]);
});

test('hard-linked: a manager that uses the other name finds, reuses and stops the server', async (t) => {
  const spec = sleepSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  const { lockFile } = new ProcessManager(spec).spec;
  const stateDir = join(temporaryFolder(t), 'other');
  mkdirSync(stateDir, { recursive: true });
  const otherLock = join(stateDir, 'other.lock');
  linkSync(lockFile, otherLock);
  const other = new ProcessManager({ ...spec, stateDir, lockFile: otherLock });
  assert.deepEqual([(await other.status()).state, (await other.status()).pid], ['running', pid]);
  const { pid: reusedPid, reused } = await other.start();
  assert.deepEqual([reusedPid, reused], [pid, true]);
  assert.equal((await other.stop()).outcome, 'stopped');
  assert.equal(isRunning(pid) || isLocked(lockFile), false);
});
