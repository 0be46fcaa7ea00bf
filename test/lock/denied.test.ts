import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, isLocked, lockHolders, ProcessManager } from '../../src/index.js';
import { blockedHelper } from '../helpers/blocked.js';
import { startLockAgent, startNobody } from '../helpers/lock-agent.js';
import { isRunning } from '../helpers/outside-view.js';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { startPowerlessManager } from '../helpers/powerless.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

const unavailable = { name: 'LockUnavailableError', code: 'ERR_LOCK_UNAVAILABLE' };
const denied = { ...unavailable, causeCode: 'EACCES' };

/** A folder that other users may enter and write to. */
function openFolder(t: TestContext): string {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o1777);
  return folder;
}

test('in a folder that may not be entered a lock is unavailable, never held and never free', async (t) => {
  const folder = openFolder(t);
  const nobody = await startNobody(t, folder);
  const path = join(folder, 'closed/x.lock');
  mkdirSync(join(folder, 'closed'));
  writeFileSync(path, '');
  chmodSync(join(folder, 'closed'), 0o000);
  await assert.rejects(nobody.acquire(path), { ...denied, path });
  await assert.rejects(nobody.isLocked(path), { ...denied, path });
  await assert.rejects(nobody.isLocked(join(folder, 'closed/missing.lock')), denied);
});

test('in a folder that may not be written to, a missing file cannot be acquired and is not locked', async (t) => {
  const folder = openFolder(t);
  const nobody = await startNobody(t, folder);
  mkdirSync(join(folder, 'closed'));
  chmodSync(join(folder, 'closed'), 0o555);
  await assert.rejects(nobody.acquire(join(folder, 'closed/x.lock')), denied);
  await assert.rejects(nobody.acquire(join(folder, 'closed/deep/x.lock')), denied);
  assert.equal(await nobody.isLocked(join(folder, 'closed/x.lock')), false);
  assert.deepEqual(readdirSync(join(folder, 'closed')), []);
});

test('a file that may not be read is unavailable, locked or not', async (t) => {
  const folder = openFolder(t);
  const nobody = await startNobody(t, folder);
  const path = join(folder, 'x.lock');
  writeFileSync(path, '');
  chmodSync(path, 0o000);
  const before = await nobody.ask({ do: 'descriptors' });
  await assert.rejects(nobody.acquire(path), { ...denied, path });
  await assert.rejects(nobody.isLocked(path), { ...denied, path });
  assert.equal(await nobody.ask({ do: 'descriptors' }), before);
});

test('a read-only file can be locked, as flock(1) does it, and the lock excludes users who may write', async (t) => {
  const folder = openFolder(t);
  const nobody = await startNobody(t, folder);
  const path = join(folder, 'x.lock');
  writeFileSync(path, '', { mode: 0o644 });
  assert.equal(await nobody.isLocked(path), false);
  const { fd } = await nobody.acquire(path);
  assert.ok(fd > 3);
  assert.equal(await nobody.ask({ do: 'isIntact' }), true);
  assert.throws(() => acquireLock(path), { code: 'ERR_LOCK_HELD' });
  assert.deepEqual(await lockHolders(path), [nobody.program.pid]);
  await nobody.release();
  {
    using _held = acquireLock(path);
    await assert.rejects(nobody.acquire(path), { name: 'LockHeldError', path });
    assert.equal(await nobody.isLocked(path), true);
  }
  await nobody.ask({ do: 'wait', path });
  assert.equal(isLocked(path), true);
});

test('without the addon, a read-only file can be locked too', async (t) => {
  const folder = openFolder(t);
  for (const helper of ['perl', 'flock']) {
    const folderOfHelper = pathWithOnly(t, helper);
    chmodSync(folderOfHelper, 0o755);
    const env = { ...process.env, PATH: folderOfHelper };
    const agent = startLockAgent(t, { nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')], env });
    const path = join(folder, `${helper}.lock`);
    await agent.ask({ do: 'becomeNobody', primeWith: join(folder, `prime-${helper}.lock`) });
    writeFileSync(path, '', { mode: 0o444 });
    chmodSync(path, 0o444);
    await agent.acquire(path);
    assert.equal(isLocked(path), true, helper);
  }
});

test('the file of a running program cannot be written to, but can be locked', (t) => {
  const path = join(temporaryFolder(t), 'program');
  copyFileSync('/bin/sleep', path);
  startProgram(t, path, ['300']);
  assert.throws(() => openSync(path, 'r+'), { code: 'ETXTBSY' });
  using lock = acquireLock(path);
  assert.equal(isLocked(lock.path), true);
});

test('with a read-only lock file a process is started, found and stopped', async (t) => {
  const spec = await redisSpec(t);
  const { lockFile } = new ProcessManager(spec).spec;
  mkdirSync(spec.stateDir);
  writeFileSync(lockFile, '');
  chmodSync(lockFile, 0o444);
  const manager = await startPowerlessManager(t, spec);
  const { pid } = await manager.start();
  killAfter(t, pid);
  assert.equal((await new ProcessManager(spec).start()).pid, pid);
  const status = await manager.status();
  assert.deepEqual([status.state, status.pid], ['running', pid]);
  // Only the lock identifies the process then.
  rmSync(join(spec.stateDir, 'redis.journal'));
  rmSync(join(spec.stateDir, 'redis.pid'));
  assert.equal((await manager.status()).pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
  assert.equal(readFileSync(lockFile, 'utf8'), '');
});

test('a user can lock a file that another user made for all, in a sticky folder such as /tmp', async (t) => {
  const folder = openFolder(t);
  const path = join(folder, 'x.lock');
  const owner = startLockAgent(t, { wrapper: ['/bin/sh', '-c', 'umask 0; exec "$@"', 'sh'] });
  await owner.acquire(path, 0o666);
  const nobody = await startNobody(t, folder);
  await assert.rejects(nobody.acquire(path, 0o666), { name: 'LockHeldError' });
  await owner.release();
  await nobody.acquire(path, 0o666);
  await assert.rejects(owner.acquire(path, 0o666), { name: 'LockHeldError' });
});

test('isIntact() throws LockUnavailableError once the folder may not be entered', async (t) => {
  const folder = openFolder(t);
  const nobody = await startNobody(t, folder);
  const path = join(folder, 'sub/x.lock');
  mkdirSync(join(folder, 'sub'));
  chmodSync(join(folder, 'sub'), 0o777);
  await nobody.acquire(path);
  assert.equal(await nobody.ask({ do: 'isIntact' }), true);
  chmodSync(join(folder, 'sub'), 0o000);
  await assert.rejects(nobody.ask({ do: 'isIntact' }), { ...denied, path });
});

for (const helper of ['perl', 'flock']) {
  test(`through ${helper}: a lock that is granted when its folder may not be entered any more is unavailable`, async (t) => {
    const folder = openFolder(t);
    const folderOfHelper = pathWithOnly(t, helper);
    chmodSync(folderOfHelper, 0o755);
    const env = { ...process.env, PATH: folderOfHelper };
    const agent = startLockAgent(t, { nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')], env });
    await agent.ask({ do: 'becomeNobody', primeWith: join(folder, 'prime.lock') });
    const before = await agent.ask({ do: 'descriptors' });
    const path = join(folder, 'sub/x.lock');
    mkdirSync(join(folder, 'sub'));
    chmodSync(join(folder, 'sub'), 0o755);
    const held = acquireLock(path, { mode: 0o644 });
    const waiting = assert.rejects(agent.ask({ do: 'wait', path }), { ...denied, path });
    killAfter(t, await blockedHelper(agent.program.pid));
    chmodSync(join(folder, 'sub'), 0o000);
    held.release();
    await waiting;
    assert.equal(await agent.ask({ do: 'descriptors' }), before);
  });
}

/** Only the agent sees the file system, which disappears with the agent. */
function withFileSystem(folder: string, options: string, script = ':'): readonly string[] {
  const mount = `mount -t tmpfs -o ${options} none "$0" && cd "$0" && { ${script}; } && exec "$@"`;
  return ['unshare', '--mount', ...(process.getuid?.() === 0 ? [] : ['-r']), '/bin/sh', '-c', mount, folder];
}

test('a file system without room for another file is unavailable', async (t) => {
  const folder = temporaryFolder(t);
  const agent = startLockAgent(t, { wrapper: withFileSystem(folder, 'size=16k,nr_inodes=2', ': > first.lock') });
  await assert.rejects(agent.acquire(join(folder, 'second.lock')), { ...unavailable, causeCode: 'ENOSPC' });
  await assert.rejects(agent.acquire(join(folder, 'sub/second.lock')), { ...unavailable, causeCode: 'ENOSPC' });
  assert.equal(await agent.isLocked(join(folder, 'second.lock')), false);
  await agent.acquire(join(folder, 'first.lock'));
});

test('on a full disk an existing file can be locked', async (t) => {
  const folder = temporaryFolder(t);
  const fill = ': > x.lock; head -c 100000 /dev/zero > fill 2>/dev/null || true';
  const agent = startLockAgent(t, { wrapper: withFileSystem(folder, 'size=16k', fill) });
  await agent.acquire(join(folder, 'x.lock'));
  assert.equal(await agent.isLocked(join(folder, 'x.lock')), true);
});

test('on a read-only file system an existing file can be locked, and none is created', async (t) => {
  const folder = temporaryFolder(t);
  const remount = ': > x.lock; mount -o remount,ro "$0"';
  const agent = startLockAgent(t, { wrapper: withFileSystem(folder, 'size=16k', remount) });
  await assert.rejects(agent.acquire(join(folder, 'missing.lock')), { ...unavailable, causeCode: 'EROFS' });
  assert.equal(await agent.isLocked(join(folder, 'x.lock')), false);
  await agent.acquire(join(folder, 'x.lock'));
  assert.equal(await agent.isLocked(join(folder, 'x.lock')), true);
  assert.equal(statSync(folder).isDirectory(), true);
});
