import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent, startWorkerAgent } from '../helpers/lock-agent.js';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { startFixture } from '../helpers/programs.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';

const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };

test('a lock taken in a worker thread excludes the main thread, other workers and other processes', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const worker = startWorkerAgent(t);
  await worker.acquire(path);
  assert.equal(isLocked(path), true);
  assert.throws(() => acquireLock(path), heldError);
  await assert.rejects(startWorkerAgent(t).acquire(path), heldError);
  await assert.rejects(startLockAgent(t).acquire(path), heldError);
  await worker.release();
  acquireLock(path).release();
});

test('a lock taken in the main thread excludes a worker thread', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const worker = startWorkerAgent(t);
  const lock = acquireLock(path);
  assert.equal(await worker.isLocked(path), true);
  await assert.rejects(worker.acquire(path), heldError);
  lock.release();
  await worker.acquire(path);
  assert.equal(isLocked(path), true);
});

test('the end of a worker thread frees its lock', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const worker = startWorkerAgent(t);
  await worker.acquire(path);
  await worker.worker.terminate();
  assert.equal(isLocked(path), false);
});

test('the end of a worker thread leaves the lock to the program that shares it', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const worker = startWorkerAgent(t);
  await worker.acquire(path);
  await worker.share(t);
  await worker.worker.terminate();
  assert.equal(isLocked(path), true);
});

test('threads that lock one after another, and side by side, do not abort the process', async (t) => {
  const { exitCode, signal, stdout, stderr } = await startFixture(t, 'threads-that-lock', [
    join(temporaryFolder(t), 'x.lock'),
  ]).ended();
  assert.deepEqual({ exitCode, signal, stdout }, { exitCode: 0, signal: null, stdout: 'done\n' }, stderr);
});

test('a worker thread waits for a lock of the main thread, and the main thread for one of a worker', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const worker = startWorkerAgent(t);
  const lock = acquireLock(path);
  await assert.rejects(worker.ask({ do: 'wait', path, timeoutMs: 30 }), heldError);
  const got = worker.ask({ do: 'wait', path });
  lock.release();
  await got;
  const waiting = waitForLock(path);
  assert.equal(isLocked(path), true);
  await worker.release();
  (await waiting).release();
});

test('without a helper, the error in a worker thread says that the addon cannot be used there', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const worker = startWorkerAgent(t, { env: { PATH: pathWithOnly(t) } });
  await assert.rejects(worker.acquire(path), { code: 'ERR_FLOCK_BINDING', message: /worker thread.*main thread/ });
  acquireLock(path).release();
});

test('each of several workers that contend and wait all the time gets the lock', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const workers = Array.from({ length: 4 }, () => startWorkerAgent(t));
  await Promise.all(
    workers.map(async (worker) => {
      for (let i = 0; i < rounds(100); i += 1) {
        await worker.ask({ do: 'wait', path });
        await worker.release();
      }
    }),
  );
  assert.equal(isLocked(path), false);
});

for (const helper of ['flock', 'perl']) {
  test(`without fs-ext, ${helper} locks in a worker thread too`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const worker = startWorkerAgent(t, {
      execArgv: ['--require', plainFixture('without-fs-ext.cjs')],
      env: { PATH: pathWithOnly(t, helper) },
    });
    await worker.acquire(path);
    assert.throws(() => acquireLock(path), heldError);
    await worker.release();
    using _lock = acquireLock(path);
    await assert.rejects(worker.acquire(path), heldError);
    await assert.rejects(worker.ask({ do: 'wait', path, timeoutMs: 10 }), heldError);
    assert.equal(await worker.isLocked(path), true);
    assert.ok(existsSync(path));
  });
}
