import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { acquireLock, releaseLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { LockHeldError } from '../../src/support/errors.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { temporaryFolder } from '../helpers/resources.js';

const permissions = (path: string) => statSync(path).mode & 0o7777;

test('acquireLock creates an empty lock file with mode 0600', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _lock = acquireLock(path);
  assert.equal(permissions(path), 0o600);
  assert.equal(readFileSync(path, 'utf8'), '');
});

test('acquireLock creates the file with the given mode, less the umask', async (t) => {
  const folder = temporaryFolder(t);
  const agent = startLockAgent(t, { wrapper: ['/bin/sh', '-c', 'umask 027; exec "$@"', 'sh'] });
  await agent.acquire(join(folder, 'shared.lock'), 0o666);
  assert.equal(permissions(join(folder, 'shared.lock')), 0o640);
});

test('acquireLock leaves the mode of an existing file alone', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  writeFileSync(path, 'kept', { mode: 0o644 });
  acquireLock(path).release();
  assert.equal(permissions(path), 0o644);
  assert.equal(readFileSync(path, 'utf8'), 'kept');
});

test('missing parent folders are created with mode 0700, and existing ones are left alone', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'there'), { mode: 0o755 });
  acquireLock(join(folder, 'there/a/b/c/x.lock')).release();
  assert.equal(permissions(join(folder, 'there')), 0o755);
  for (const made of ['there/a', 'there/a/b', 'there/a/b/c'])
    assert.equal(permissions(join(folder, made)), 0o700, made);
});

test('the file stays when the lock is released, and can be locked again', (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.lock');
  acquireLock(path).release();
  const { ino } = statSync(path);
  acquireLock(path).handOver();
  releaseLock(acquireLock(path));
  assert.equal(statSync(path).ino, ino);
  assert.deepEqual(readdirSync(folder), ['x.lock']);
});

test('a second acquire in the same process is refused until the first is released', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const first = acquireLock(path);
  assert.throws(
    () => acquireLock(path),
    (error) => {
      assert.ok(error instanceof LockHeldError);
      assert.equal(error.code, 'ERR_LOCK_HELD');
      assert.equal(error.path, path);
      assert.ok(error.message.includes(path));
      return true;
    },
  );
  assert.equal(first.held, true);
  assert.equal(isLocked(path), true);
  first.release();
  acquireLock(path).release();
});

test('locks on two files do not affect each other', (t) => {
  const folder = temporaryFolder(t);
  using _a = acquireLock(join(folder, 'a.lock'));
  using b = acquireLock(join(folder, 'b.lock'));
  assert.equal(b.held, true);
});

test('two paths to one file are one lock', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'sub'));
  using lock = acquireLock(join(folder, 'x.lock'));
  assert.equal(lock.path, join(folder, 'x.lock'));
  assert.throws(() => acquireLock(join(folder, 'sub/../x.lock')), LockHeldError);
});

for (const end of ['release', 'handOver'] as const) {
  test(`after ${end}() the lock is not held, and calling either method again does no harm`, (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const first = acquireLock(path);
    assert.equal(first.held, true);
    assert.equal(first.isIntact(), true);
    first[end]();
    assert.equal(first.held, false);
    assert.equal(first.isIntact(), false);
    // The next lock gets the same descriptor, which a second release of the first lock must not close.
    using second = acquireLock(path);
    assert.equal(second.fd, first.fd);
    first.release();
    first.handOver();
    first[Symbol.dispose]();
    assert.equal(isLocked(path), true);
    assert.equal(second.isIntact(), true);
  });
}

test('leaving the scope of a `using` declaration releases the lock', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  {
    using lock = acquireLock(path);
    assert.equal(isLocked(lock.path), true);
  }
  assert.equal(isLocked(path), false);
});

test('a lock stays held when nothing refers to its object any more', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const weak = new WeakRef(acquireLock(path));
  for (let i = 0; i < 50 && weak.deref() !== undefined; i += 1) {
    await new Promise((turn) => setImmediate(turn));
    collectGarbage();
  }
  assert.equal(weak.deref(), undefined, 'the lock object was collected');
  assert.equal(isLocked(path), true);
});

test('a relative path is resolved once, against the working directory of the call', async (t) => {
  const folder = realpathSync(temporaryFolder(t));
  const agent = startLockAgent(t, { cwd: folder });
  const lock = await agent.acquire('sub/x.lock');
  assert.equal(lock.path, join(folder, 'sub/x.lock'));
  assert.equal(isLocked(lock.path), true);
});

test('a relative path in a working directory that was removed is unavailable', async (t) => {
  const folder = join(temporaryFolder(t), 'gone');
  mkdirSync(folder);
  const agent = startLockAgent(t, {
    wrapper: ['/bin/sh', '-c', 'cd "$0" && "$1" -e "fs.rmdirSync(process.cwd())" && exec "$@"', folder],
    cwd: dirname(folder),
  });
  await assert.rejects(agent.acquire('x.lock'), { name: 'LockUnavailableError', path: 'x.lock' });
});

const badPaths = ['', 'a\0b', undefined, null, 7, 7n, {}, Symbol('x'), Buffer.from('/tmp/x'), new URL('file:///tmp/x')];
for (const bad of badPaths as string[]) {
  test(`a path that is ${typeof bad} ${JSON.stringify(String(bad))} is a TypeError that names it`, async () => {
    const expected = { name: 'TypeError', message: /^"path" must be a non-empty string without NUL, not / };
    assert.throws(() => acquireLock(bad), expected);
    assert.throws(() => isLocked(bad), expected);
    await assert.rejects(waitForLock(bad), expected);
  });
}

for (const mode of [-1, 0o1000, 1.5, Number.NaN, '0600', null] as number[]) {
  test(`mode ${JSON.stringify(mode)} (${typeof mode}) is a TypeError, and no file is created`, (t) => {
    const folder = temporaryFolder(t);
    assert.throws(() => acquireLock(join(folder, 'x.lock'), { mode }), {
      name: 'TypeError',
      message: /^"mode" must be permission bits between 0 and 0o777, not /,
    });
    assert.deepEqual(readdirSync(folder), []);
  });
}
