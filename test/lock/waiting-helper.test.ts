/**
 * Without fs-ext one helper waits for the lock on behalf of its caller: it gets the lock for the caller, and ends when
 * it is not needed any more.
 */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { acquireLock } from '../../src/lock/file-lock.js';
import { isLocked, lockHolders } from '../../src/lock/questions.js';
import type { WaiterMessage } from '../fixtures/waiter.js';
import { blockedHelper } from '../helpers/blocked.js';
import { type LockMode, lockSetup } from '../helpers/cost.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { whereIs } from '../helpers/path-with-only.js';
import { fixture } from '../helpers/paths.js';
import { type Program, startFixture, startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { eventually, MUST_HAPPEN_MS, STILL_MS } from '../helpers/waiting.js';

/** Each second the waiter checks whether the locked file is still the one at the path. */
const COMPARED_WITHIN_MS = 1_000;

interface Waiter {
  readonly program: Program;
  /** The PID of the helper that waits on its behalf. */
  readonly helper: number;
}

/** Starts a process that waits for a held lock; its helper is waiting when this resolves. */
async function startWaiter(t: TestContext, mode: LockMode, path: string, timeoutMs = 'Infinity'): Promise<Waiter> {
  const program = startFixture(t, 'waiter', [path, timeoutMs], lockSetup(t, mode).options);
  assert.equal(await program.message(), 'waiting');
  return { program, helper: killAfter(t, await blockedHelper(program.pid)) };
}

async function isGone(helper: number): Promise<void> {
  await eventually(`helper process ${helper} has ended`, () => !isRunningProcess(helper));
}

for (const mode of ['perl', 'flock(1)'] satisfies LockMode[]) {
  test(`through ${mode}: when the holder releases the lock, the helper gets it, and it stays with the waiter`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const held = acquireLock(path);
    const { program, helper } = await startWaiter(t, mode, path);
    held.release();
    assert.equal(await program.message(), 'got');
    assert.equal(isRunningProcess(helper), false);
    assert.deepEqual(await lockHolders(path), [program.pid]);
    program.send('release');
    await program.ended();
    assert.equal(isLocked(path), false);
  });

  test(`through ${mode}: when the holder is killed, the helper gets the lock for the waiter`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const holder = startFixture(t, 'waiter', [path]);
    assert.deepEqual([await holder.message(), await holder.message()], ['waiting', 'got']);
    const { program } = await startWaiter(t, mode, path);
    holder.kill();
    assert.equal(await program.message(), 'got');
  });

  test(`through ${mode}: an abort ends the helper, and the lock is not acquired later`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const held = acquireLock(path);
    const { program, helper } = await startWaiter(t, mode, path);
    program.send('abort');
    const { name, message, descriptors } = (await program.message()) as Exclude<WaiterMessage, string>;
    assert.deepEqual([name, message, descriptors], ['RangeError', 'given up', 0]);
    assert.equal(isRunningProcess(helper), false, 'the helper is gone when the caller hears of it');
    held.release();
    acquireLock(path).release();
  });

  test(`through ${mode}: a timeout ends the helper, not before its time and not long after it`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    using _held = acquireLock(path);
    const { program, helper } = await startWaiter(t, mode, path, '3000');
    const { name, afterMs, descriptors } = (await program.message()) as Exclude<WaiterMessage, string>;
    assert.deepEqual([name, descriptors], ['LockHeldError', 0]);
    assert.ok(afterMs >= 2_999 && afterMs < MUST_HAPPEN_MS, `${afterMs} ms`);
    assert.equal(isRunningProcess(helper), false);
  });

  for (const change of ['deleted', 'replaced'] as const) {
    test(`through ${mode}: a lock file that is ${change} during the wait is opened again`, async (t) => {
      const folder = temporaryFolder(t);
      const path = join(folder, 'x.lock');
      using _former = acquireLock(path);
      const { program, helper } = await startWaiter(t, mode, path);
      if (change === 'deleted') {
        unlinkSync(path);
        assert.equal(await program.message(), 'got');
      } else {
        const other = join(folder, 'other');
        writeFileSync(other, '');
        const held = acquireLock(other);
        renameSync(other, path);
        const second = killAfter(t, await blockedHelper(program.pid, helper));
        await isGone(helper);
        held.release();
        assert.equal(await program.message(), 'got');
        await isGone(second);
      }
      assert.deepEqual(await lockHolders(path), [program.pid]);
    });
  }

  test(`through ${mode}: a helper that is killed is replaced`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const held = acquireLock(path);
    const { program, helper } = await startWaiter(t, mode, path);
    process.kill(helper, 'SIGTERM');
    killAfter(t, await blockedHelper(program.pid, helper));
    held.release();
    assert.equal(await program.message(), 'got');
  });

  test(`through ${mode}: the helper of a killed waiter ends when the lock is released, and the lock is free then`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const held = acquireLock(path);
    const { program, helper } = await startWaiter(t, mode, path);
    program.kill();
    await program.ended();
    assert.equal(isRunningProcess(helper), true);
    held.release();
    await isGone(helper);
    acquireLock(path).release();
  });

  test(`through ${mode}: the helper has no file but the lock file open, and works in the root folder`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    using _held = acquireLock(path);
    const { helper } = await startWaiter(t, mode, path);
    const links = readdirSync(`/proc/${helper}/fd`).map((fd) => readlinkSync(`/proc/${helper}/fd/${fd}`));
    assert.deepEqual(
      links.filter((link) => link.startsWith('/') && link !== '/dev/null'),
      [path],
    );
    assert.equal(readlinkSync(`/proc/${helper}/cwd`), '/');
  });

  test(`through ${mode}: of many that wait each gets the lock once, one at a time`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const held = acquireLock(path);
    const waiters = await Promise.all(Array.from({ length: 4 }, () => startWaiter(t, mode, path)));
    held.release();
    for (let left = waiters.length; left > 0; left -= 1) {
      await eventually('a waiter holds the lock', () => waiters.some(({ program }) => program.messages.length > 0));
      await delay(STILL_MS);
      const got = waiters.filter(({ program }) => program.messages.length > 0);
      assert.equal(got.length, 1, 'holders');
      assert.equal(await got[0]?.program.message(), 'got');
      got[0]?.program.send('release');
      await got[0]?.program.ended();
    }
    assert.equal(isLocked(path), false);
  });
}

test('through perl the helper keeps no descriptor that its caller inherited', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'x.lock');
  using _held = acquireLock(path);
  // Node marks inherited descriptors close-on-exec up to the first gap above 15, so 99 is passed on to children.
  const script = 'exec 99>"$OTHER"; exec "$@"';
  const { nodeArgs, env } = lockSetup(t, 'perl').options;
  const words = ['-c', script, 'bash', process.execPath, ...nodeArgs, fixture('waiter'), path];
  const program = startProgram(t, '/bin/bash', words, {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...env, OTHER: join(folder, 'other') },
  });
  assert.equal(await program.message(), 'waiting');
  const helper = killAfter(t, await blockedHelper(program.pid));
  const links = readdirSync(`/proc/${helper}/fd`).map((fd) => readlinkSync(`/proc/${helper}/fd/${fd}`));
  assert.deepEqual(
    links.filter((link) => link.startsWith(folder)),
    [path],
  );
});

test('a worker thread that ends while it waits leaves the lock free', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const held = acquireLock(path);
  const worker = new Worker(fixture('lock-agent'), { env: { PATH: whereIs('perl').replace(/\/perl$/, '') } });
  t.after(() => worker.terminate());
  worker.postMessage({ do: 'wait', path });
  const helper = killAfter(t, await blockedHelper(process.pid));
  await worker.terminate();
  held.release();
  await eventually('the lock is free', () => !isLocked(path));
  await isGone(helper);
});

test('checking whether the lock file was replaced starts no further helper', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using _held = acquireLock(path);
  const { options, starts } = lockSetup(t, 'perl');
  const program = startFixture(t, 'waiter', [path], options);
  killAfter(t, await blockedHelper(program.pid));
  const before = starts().length;
  await delay(2 * COMPARED_WITHIN_MS);
  assert.equal(starts().length, before);
});
