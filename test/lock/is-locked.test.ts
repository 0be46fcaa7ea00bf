import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startFixture, startProgram } from '../helpers/programs.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';
import { MUST_HAPPEN_MS } from '../helpers/waiting.js';

test('a file that does not exist is not locked, and nothing is created', (t) => {
  const folder = temporaryFolder(t);
  assert.equal(isLocked(join(folder, 'x.lock')), false);
  assert.equal(isLocked(join(folder, 'a/b/x.lock')), false);
  assert.deepEqual(readdirSync(folder), []);
});

test('a file without a lock is not locked, and is left as it was', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  writeFileSync(path, 'kept', { mode: 0o640 });
  const before = statSync(path);
  assert.equal(isLocked(path), false);
  const after = statSync(path);
  assert.equal(readFileSync(path, 'utf8'), 'kept');
  assert.deepEqual([after.mode, after.mtimeMs, after.ctimeMs], [before.mode, before.mtimeMs, before.ctimeMs]);
});

test('isLocked is right after each of acquire, release, acquire and hand-over', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  for (const end of ['release', 'handOver'] as const) {
    const lock = acquireLock(path);
    assert.equal(isLocked(path), true);
    assert.equal(isLocked(path), true);
    lock[end]();
    assert.equal(isLocked(path), false);
  }
});

test('an exclusive lock of flock(1) counts as locked, and a shared one does not', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  for (const [mode, expected] of [
    ['-x', true],
    ['-s', false],
  ] as const) {
    const holder = startProgram(t, 'flock', ['--no-fork', mode, path, 'sh', '-c', 'echo held; exec sleep 60']);
    await holder.printed(/held/);
    assert.equal(isLocked(path), expected, mode);
    holder.kill();
    await holder.ended();
    assert.equal(isLocked(path), false);
  }
});

test('isLocked throws for a folder', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'x.lock'));
  assert.throws(() => isLocked(join(folder, 'x.lock')), { code: 'ERR_LOCK_UNAVAILABLE', message: /^Cannot examine / });
});

test('isLocked is never false while the lock is held', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _lock = acquireLock(path);
  const looks = String(rounds(200_000));
  const probers = [startFixture(t, 'prober', [path, looks]), startFixture(t, 'prober', [path, looks])];
  for (const prober of probers) {
    const { stdout, stderr } = await prober.ended({ withinMs: 10 * MUST_HAPPEN_MS });
    assert.equal(stdout, `begun\n${looks} looks, ${looks} locked\n`, stderr);
  }
  assert.ok(existsSync(path));
});
