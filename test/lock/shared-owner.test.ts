/** Another process keeps a shared lock on the file: the refusal names that process, and comes within a bounded time. */
import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import { acquireLock, waitForLock } from '../../src/lock/file-lock.js';
import { tryFlock } from '../../src/lock/flock.js';
import { isLocked } from '../../src/lock/questions.js';
import { blockedHelper } from '../helpers/blocked.js';
import { LOCK_MODES, type LockMode, lockSetup } from '../helpers/cost.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { onDarwin, unlessRoot } from '../helpers/one-call.js';
import { AS_NOBODY, IN_DOCKER } from '../helpers/powerless.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';

/** About 140 ms with the addon, two seconds without it, on an idle machine. */
const REFUSED_WITHIN_MS = 45_000;

async function keepShared(t: TestContext, path: string, behind: readonly string[] = []): Promise<Program> {
  writeFileSync(path, '');
  const args = ['--no-fork', '-s', path, ...behind, 'sh', '-c', 'echo held; exec sleep 60'];
  const keeper = startProgram(t, 'flock', args);
  await keeper.printed(/held/);
  return keeper;
}

test('the refusal beside shared locks names all processes that keep one', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const keepers = [await keepShared(t, path), await keepShared(t, path)];
  const pids = keepers.map(({ pid }) => pid).sort((one, other) => one - other);
  const expected = { name: 'LockHeldError', path, message: new RegExp(`shared lock.*PID ${pids.join(', ')}`) };
  assert.throws(() => acquireLock(path), expected);
  await assert.rejects(waitForLock(path, { timeoutMs: 50 }), expected);
  assert.equal(isLocked(path), false);
});

for (const mode of LOCK_MODES) {
  test(`through ${mode}: beside a shared lock acquireLock and waitForLock end in a bounded time`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const { pid } = await keepShared(t, path);
    const { options } = lockSetup(t, mode);
    const agent = startLockAgent(t, options);
    const expected = { name: 'LockHeldError', message: new RegExp(`PID ${pid}`) };
    const began = performance.now();
    await assert.rejects(agent.acquire(path), expected);
    const acquired = performance.now();
    await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 500 }), expected);
    const waited = performance.now();
    t.diagnostic(`acquireLock ${(acquired - began).toFixed()} ms, waitForLock ${(waited - acquired).toFixed()} ms`);
    assert.ok(acquired - began < REFUSED_WITHIN_MS, `${acquired - began} ms`);
    assert.ok(waited - acquired < REFUSED_WITHIN_MS, `${waited - acquired} ms`);
  });
}

for (const mode of ['perl', 'flock(1)'] satisfies LockMode[]) {
  test(`through ${mode}: acquireLock is refused in time by a holder that comes while it waits beside a shared lock`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const agent = startLockAgent(t, lockSetup(t, mode).options);
    const refusedAfterMs: number[] = [];
    while (refusedAfterMs.length < 3) {
      const fd = openSync(path, 'a');
      assert.equal(tryFlock(fd, 'sh'), true);
      const outcome = agent.acquire(path).then(
        () => 'locked',
        (error: Error) => error.message,
      );
      await blockedHelper(agent.program.pid);
      // The kernel may give the lock to the helper, because flock(2) releases a shared lock before it converts it to an
      // exclusive one.
      const isOurs = tryFlock(fd, 'ex');
      const began = performance.now();
      if (isOurs) assert.match(await outcome, /another holder has it/);
      if (isOurs) refusedAfterMs.push(performance.now() - began);
      closeSync(fd);
      if ((await outcome) === 'locked') await agent.release();
    }
    t.diagnostic(`${refusedAfterMs.map((ms) => ms.toFixed()).join(', ')} ms`);
    assert.ok(Math.min(...refusedAfterMs) < 1_500, `${refusedAfterMs}`);
  });
}

test('where lsof is missing and the keeper of a shared lock is unknown, the lock is refused all the same', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  await keepShared(t, path);
  const agent = startLockAgent(t, { ...onDarwin, env: { PATH: temporaryFolder(t) } });
  const message = /shared lock is kept on it by a process that cannot be seen/;
  await assert.rejects(agent.acquire(path), { name: 'LockHeldError', message });
});

test('a start() beside a shared lock names its keeper, and does not say that the process is running', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 1_000 });
  const manager = new ProcessManager(spec);
  acquireLock(manager.spec.lockFile).release();
  const keeper = await keepShared(t, manager.spec.lockFile);
  await assert.rejects(manager.start(), (error: Error) => {
    assert.equal(error.name, 'LockUnavailableError');
    assert.doesNotMatch(error.message, /already running/);
    assert.match(error.message, new RegExp(`shared lock.*PID ${keeper.pid}`));
    return true;
  });
  keeper.kill();
  await keeper.ended();
  assert.equal((await manager.start()).reused, false);
});

test('a stop() beside a shared lock names its keeper', async (t) => {
  const manager = new ProcessManager(sleepSpec(t));
  acquireLock(manager.spec.lockFile).release();
  const keeper = await keepShared(t, manager.spec.lockFile);
  await assert.rejects(manager.stop(), { name: 'StopTimeoutError', holders: [keeper.pid] });
  keeper.kill();
  await keeper.ended();
  assert.equal((await manager.stop()).outcome, 'not-running');
});

test('a supervisor beside a shared lock gives up with an error that names its keeper', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(sleepSpec(t, { startTimeoutMs: 200 }));
  acquireLock(manager.spec.lockFile).release();
  const keeper = await keepShared(t, manager.spec.lockFile);
  const backoff = { initialMs: 10, maxMs: 20 };
  const supervisor = supervision.add(manager.supervise({ backoff, giveUpAfter: { restarts: 2 } }));
  await assert.rejects(supervisor.done, {
    name: 'CrashLoopError',
    message: new RegExp(`shared lock.*PID ${keeper.pid}`),
  });
  keeper.kill();
  await keeper.ended();
});

test('a start() beside a shared lock whose keeper cannot be found ends when its time is over', {
  skip: unlessRoot,
}, async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 500 });
  const { lockFile } = new ProcessManager(spec).spec;
  acquireLock(lockFile).release();
  const keeper = await keepShared(t, lockFile, AS_NOBODY);
  const manager = await startRemoteManager(t, spec, { behind: IN_DOCKER });
  await assert.rejects(manager.start(), {
    name: 'LockUnavailableError',
    message: /shared lock is kept on ".*" by a process that cannot be seen/,
  });
  keeper.kill();
  await keeper.ended();
  assert.equal((await manager.start()).reused, false);
  await manager.stop();
});
