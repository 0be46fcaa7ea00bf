import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, releaseLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { LockHeldError } from '../../src/support/errors.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

const freed = (path: string) => eventually('the lock is free', () => !isLocked(path));

/** Requires that the lock stays held for a moment. */
async function staysHeld(path: string): Promise<void> {
  const end = performance.now() + STILL_MS;
  while (performance.now() < end) {
    assert.equal(isLocked(path), true);
    assert.throws(() => acquireLock(path), LockHeldError);
    await new Promise((turn) => setTimeout(turn, 5));
  }
}

function startHeir(t: TestContext, fd: number) {
  return startProgram(t, '/bin/sleep', ['60'], { stdio: ['ignore', 'pipe', 'pipe', fd] });
}

test('a child that was given the descriptor keeps the lock after handOver(), exactly until it ends', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const lock = acquireLock(path);
  const heir = startHeir(t, lock.fd);
  lock.handOver();
  assert.equal(lock.held, false);
  await staysHeld(path);
  lock.release();
  lock[Symbol.dispose]();
  assert.equal(isLocked(path), true, 'a release after the hand-over frees nothing');
  heir.kill();
  await freed(path);
});

test('the lock outlives the starter that was killed right after it handed over', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const starter = startLockAgent(t);
  await starter.acquire(path);
  const heir = await starter.share(t);
  await starter.handOver();
  await starter.kill();
  await staysHeld(path);
  process.kill(heir, 'SIGKILL');
  await freed(path);
});

test('the lock outlives the starter that was killed before it handed over', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const starter = startLockAgent(t);
  await starter.acquire(path);
  const heir = await starter.share(t);
  await starter.kill();
  await staysHeld(path);
  process.kill(heir, 'SIGKILL');
  await freed(path);
});

test('the last of several processes that inherited the lock frees it, even a grandchild', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const lock = acquireLock(path);
  const parent = startProgram(t, '/bin/sh', ['-c', 'sleep 60 >/dev/null 2>&1 & echo "child $!"; wait'], {
    stdio: ['ignore', 'pipe', 'pipe', lock.fd],
  });
  const grandchild = killAfter(t, Number((await parent.printed(/child (\d+)/))[1]));
  lock.handOver();
  parent.kill();
  await parent.ended();
  await staysHeld(path);
  process.kill(grandchild, 'SIGKILL');
  await freed(path);
});

test('release() frees the lock although a child still shares it', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const lock = acquireLock(path);
  const heir = startHeir(t, lock.fd);
  releaseLock(lock);
  assert.equal(isLocked(path), false);
  using next = acquireLock(path);
  assert.equal(heir.isAlive, true);
  heir.kill();
  await heir.ended();
  assert.equal(next.isIntact() && isLocked(path), true, 'the end of the former heir frees nothing of the next holder');
});

test('handOver() without a child frees the lock', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  acquireLock(path).handOver();
  assert.equal(isLocked(path), false);
});

for (const signal of ['SIGKILL', 'SIGTERM', 'SIGSEGV'] as const) {
  test(`the kernel frees the lock of a holder that dies of ${signal}`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const holder = startLockAgent(t, { wrapper: ['/bin/sh', '-c', 'ulimit -c 0; exec "$@"', 'sh'] });
    await holder.acquire(path);
    assert.throws(() => acquireLock(path), LockHeldError);
    holder.program.kill(signal);
    await holder.program.ended();
    acquireLock(path).release();
  });
}

test('the kernel frees the lock of a holder that exits without releasing it', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const holder = startLockAgent(t);
  await holder.acquire(path);
  await holder.ask({ do: 'retire' });
  assert.equal((await holder.program.ended()).exitCode, 0, 'a lock does not keep a process alive');
  acquireLock(path).release();
});

test('a child that is started without the descriptor while the lock is held does not keep it', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const lock = acquireLock(path);
  const child = spawn('/bin/sleep', ['60'], { detached: true, stdio: 'ignore' });
  killAfter(t, child.pid ?? 0);
  lock.handOver();
  await freed(path);
  assert.equal(child.exitCode, null);
});
