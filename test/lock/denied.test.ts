import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startLockAgent, startNobody } from '../helpers/lock-agent.js';
import { temporaryFolder } from '../helpers/resources.js';

const unavailable = { name: 'LockUnavailableError', code: 'ERR_LOCK_UNAVAILABLE' };
const denied = { ...unavailable, causeCode: 'EACCES' };

/** A folder that others may enter and write in. */
function openFolder(t: TestContext): string {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o1777);
  return folder;
}

test('in a folder that may not be entered the answer is unavailable, never held and never free', async (t) => {
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

test('in a folder that may not be written to a missing file is unavailable, and is not locked', async (t) => {
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

test('a file that may only be read cannot be locked, and can be asked about', async (t) => {
  const folder = openFolder(t);
  const nobody = await startNobody(t, folder);
  const path = join(folder, 'x.lock');
  writeFileSync(path, '');
  chmodSync(path, 0o444);
  await assert.rejects(nobody.acquire(path), { ...denied, path });
  assert.equal(await nobody.isLocked(path), false);
  const holder = startLockAgent(t);
  await holder.ask({ do: 'becomeNobody', primeWith: join(folder, 'other.lock') });
  chmodSync(path, 0o666);
  await holder.acquire(path);
  chmodSync(path, 0o444);
  assert.equal(await nobody.isLocked(path), true);
});

test('one user locks the file that another one made for all, in a sticky folder such as /tmp', async (t) => {
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

test('whether a lock is intact is unavailable once its folder may not be entered', async (t) => {
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

/** The file system is seen by the agent alone, and gone with it. */
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

test('a full disk does not hinder locking a file that is there', async (t) => {
  const folder = temporaryFolder(t);
  const fill = ': > x.lock; head -c 100000 /dev/zero > fill 2>/dev/null || true';
  const agent = startLockAgent(t, { wrapper: withFileSystem(folder, 'size=16k', fill) });
  await agent.acquire(join(folder, 'x.lock'));
  assert.equal(await agent.isLocked(join(folder, 'x.lock')), true);
});

test('a read-only file system is unavailable to lock, and can be asked', async (t) => {
  const folder = temporaryFolder(t);
  const remount = ': > x.lock; mount -o remount,ro "$0"';
  const agent = startLockAgent(t, { wrapper: withFileSystem(folder, 'size=16k', remount) });
  await assert.rejects(agent.acquire(join(folder, 'x.lock')), { ...unavailable, causeCode: 'EROFS' });
  await assert.rejects(agent.acquire(join(folder, 'missing.lock')), { ...unavailable, causeCode: 'EROFS' });
  assert.equal(await agent.isLocked(join(folder, 'x.lock')), false);
  assert.equal(statSync(folder).isDirectory(), true);
});
