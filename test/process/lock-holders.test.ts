import assert from 'node:assert/strict';
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, isLocked, type LockUnavailableError, lockHolders, ProcessManager } from '../../src/index.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { asNobody, callElsewhere, unlessRoot } from '../helpers/one-call.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

test('a lock that is free, or whose file does not exist, has no holders', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  assert.deepEqual(await lockHolders(path), []);
  acquireLock(path).release();
  assert.deepEqual(await lockHolders(path), []);
});

test('lockHolders() gives the PID of a holder here or elsewhere, by a relative path, too', async (t) => {
  const folder = temporaryFolder(t);
  const [ours, theirs] = [join(folder, 'ours.lock'), join(folder, 'theirs.lock')];
  using _lock = acquireLock(ours);
  assert.deepEqual(await lockHolders(ours), [process.pid]);
  const agent = startLockAgent(t);
  await agent.acquire(theirs);
  assert.deepEqual(await lockHolders(theirs), [agent.program.pid]);
  const cwd = process.cwd();
  process.chdir(folder);
  t.after(() => process.chdir(cwd));
  assert.deepEqual(await lockHolders('theirs.lock'), [agent.program.pid]);
});

test('lockHolders() gives all who have inherited a lock, and after the hand-over only those who still have it', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startLockAgent(t);
  await agent.acquire(path);
  const heir = await agent.share(t);
  assert.deepEqual(
    await lockHolders(path),
    [agent.program.pid, heir].sort((one, other) => one - other),
  );
  await agent.handOver();
  assert.deepEqual(await lockHolders(path), [heir]);
  await agent.kill();
  assert.deepEqual(await lockHolders(path), [heir]);
});

test('the holders are the managed process and its starter, and then the managed process alone', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  let during: Promise<number[]> | undefined;
  manager.on('spawned', () => {
    during = lockHolders(manager.spec.lockFile);
  });
  const { pid } = await manager.start();
  assert.deepEqual(
    await during,
    [process.pid, pid].sort((one, other) => one - other),
  );
  assert.deepEqual(await lockHolders(manager.spec.lockFile), [pid]);
});

test("lockHolders() throws LockUnavailableError, and gives no empty list, when the holder is another user's process", {
  skip: unlessRoot,
}, async (t) => {
  const spec = await redisSpec(t);
  const { lockFile } = new ProcessManager(spec).spec;
  await new ProcessManager(spec).start();
  for (const folder of [dirname(spec.stateDir), spec.stateDir]) chmodSync(folder, 0o755);
  chmodSync(lockFile, 0o644);
  await assert.rejects(callElsewhere(t, 'lockHolders', { ...spec, lockFile }, asNobody), (error) => {
    const { name, path, message } = error as LockUnavailableError;
    assert.deepEqual([name, path], ['LockUnavailableError', lockFile]);
    assert.match(
      message,
      /^Cannot tell who holds ".*": none of the processes that this user may examine has it; ask as root, .*SYS_PTRACE$/,
    );
    return true;
  });
  await new ProcessManager(spec).stop();
  assert.deepEqual(await callElsewhere(t, 'lockHolders', { ...spec, lockFile }, asNobody), []);
});

test('lockHolders() throws LockUnavailableError or TypeError for a path that cannot be a lock file', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), '');
  symlinkSync(join(folder, 'file'), join(folder, 'link'));
  for (const path of [folder, join(folder, 'link')]) {
    await assert.rejects(lockHolders(path), { name: 'LockUnavailableError', path }, path);
  }
  for (const path of ['', 'a\0b', 5 as unknown as string]) await assert.rejects(lockHolders(path), TypeError);
  // Below a file there can be no lock file.
  for (const path of [join(folder, 'file'), join(folder, 'file/x')]) {
    assert.deepEqual([isLocked(path), await lockHolders(path)], [false, []]);
  }
});
