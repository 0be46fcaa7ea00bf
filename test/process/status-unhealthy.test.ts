import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { ProcessManager, type ProcessSpec, UnhealthyError } from '../../src/index.js';
import { journalFile } from '../helpers/journal.js';
import { isRunning, logged, reachesState } from '../helpers/outside-view.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

type Test = Parameters<typeof redisSpec>[0];

/** A healthy redis, and a second manager that checks it in another way, with a start time that is over. */
async function lookedAtAgain(
  t: Test,
  changes: Partial<ProcessSpec>,
): Promise<{ manager: ProcessManager; pid: number }> {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  return { manager: new ProcessManager({ ...spec, startTimeoutMs: 0, ...changes }), pid };
}

/** The same without a check of the port, for which a busy machine may need longer than a short time limit. */
async function askedAgain(t: Test, changes: Partial<ProcessSpec>): Promise<{ manager: ProcessManager; pid: number }> {
  const { manager, pid } = await lookedAtAgain(t, changes);
  const { port: _, ...portless } = manager.spec;
  return { manager: new ProcessManager(portless), pid };
}

test('the state is "unhealthy" when the port does not accept connections', async (t) => {
  const { manager, pid } = await lookedAtAgain(t, { port: 1, isHealthy: () => assert.fail('not asked') });
  // The journal names the port on which the process became ready, and status() would ask that one.
  rmSync(journalFile(manager.spec));
  const { state, checks, pid: found } = await manager.status();
  assert.deepEqual(
    [state, found, checks.identity, checks.port, checks.health],
    ['unhealthy', pid, true, false, undefined],
  );
  assert.equal(await manager.isRunning(), false);
});

const UNWELL: [string, NonNullable<ProcessSpec['isHealthy']>][] = [
  ['says false', () => false],
  ['gives a truthy value other than true', () => 'yes' as unknown as boolean],
  [
    'throws',
    () => {
      throw new Error('ill');
    },
  ],
  ['rejects', () => Promise.reject(new Error('ill'))],
];

for (const [what, isHealthy] of UNWELL) {
  test(`the state is "unhealthy" when isHealthy ${what}`, async (t) => {
    const { manager, pid } = await lookedAtAgain(t, { isHealthy });
    const { state, checks, pid: found } = await manager.status();
    assert.deepEqual([state, found, checks.port, checks.health], ['unhealthy', pid, true, false]);
  });
}

test('the state is "unhealthy" when isHealthy takes longer than checkTimeoutMs, and its signal is aborted', async (t) => {
  let signal: AbortSignal | undefined;
  const { manager } = await askedAgain(t, {
    checkTimeoutMs: 100,
    isHealthy: (_, given) => {
      signal = given;
      return new Promise<boolean>(() => undefined);
    },
  });
  const began = performance.now();
  const { state, checks } = await manager.status();
  assert.deepEqual([state, checks.health], ['unhealthy', false]);
  assert.ok(performance.now() - began < 2_000);
  assert.equal(signal?.aborted, true);
});

test('isHealthy is given the instance, and a signal that is not aborted', async (t) => {
  let seen: { pid: number; address: string | undefined } | undefined;
  let signal: AbortSignal | undefined;
  const { manager, pid } = await lookedAtAgain(t, {
    isHealthy: (instance, given) => {
      seen = instance;
      signal = given;
      return !given.aborted;
    },
  });
  assert.equal((await manager.status()).state, 'running');
  assert.deepEqual([seen?.pid, seen?.address], [pid, `127.0.0.1:${manager.spec.port}`]);
  assert.equal(signal?.aborted, false);
});

test('the state of a suspended process is "unhealthy", although its port accepts connections', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  process.kill(pid, 'SIGSTOP');
  await reachesState(pid, 'T');
  const { state, checks, pid: found } = await manager.status();
  assert.deepEqual(
    [state, found, checks.process, checks.identity, checks.port],
    ['unhealthy', pid, false, undefined, undefined],
  );
  process.kill(pid, 'SIGCONT');
  await eventually('the process runs again', () => manager.isRunning());
});

test('a start() that finds an unhealthy process throws in time, and leaves the process alone', async (t) => {
  const { manager, pid } = await askedAgain(t, { startTimeoutMs: 200, isHealthy: () => false });
  await assert.rejects(manager.start(), (error) => {
    assert.ok(error instanceof UnhealthyError, String(error));
    assert.equal(
      error.message,
      `redis is already running (lock file held by another process) but PID ${pid} is not healthy: isHealthy gave false`,
    );
    assert.equal(error.status.state, 'unhealthy');
    return true;
  });
  assert.equal(isRunning(pid), true);
});

test('the state is "unhealthy" when only survivors hold the lock, and the next start ends them', async (t) => {
  const spec = await nodeSpec(t, { child: 'stay' });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const child = killAfter(t, Number((await logged(manager.spec.logFile, /child (\d+)/))[1]));
  process.kill(pid, 'SIGKILL');
  await eventually('the process has ended', () => !isRunning(pid));
  const { state, checks, pid: found } = await manager.status();
  assert.deepEqual([state, found], ['unhealthy', undefined]);
  assert.deepEqual([checks.lock, checks.pidFile, checks.process, checks.identity], [true, true, false, undefined]);
  rmSync(manager.spec.pidFile);
  assert.equal((await manager.status()).checks.pidFile, false);
  assert.equal(isRunning(child), true, 'status() ends nobody');
  const next = await manager.start();
  assert.notEqual(next.pid, pid);
  assert.equal(isRunning(child), false);
  assert.equal((await manager.status()).state, 'running');
});

test('the state is "unhealthy" when the lock file is gone and the process still lives', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pid } = await manager.start();
  rmSync(manager.spec.lockFile);
  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([state, found, checks.lock, checks.pidFile], ['unhealthy', pid, false, true]);
  assert.match(readFileSync(manager.spec.pidFile, 'utf8'), new RegExp(`^${pid}\n`));
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
});
