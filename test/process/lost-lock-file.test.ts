import assert from 'node:assert/strict';
import { cpSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Instance, isLocked, lockHolders, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf, timely } from '../helpers/gate.js';
import { journalFile } from '../helpers/journal.js';
import { callElsewhere } from '../helpers/one-call.js';
import { assertNothingLeft, logged, processesIn } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter, rounds, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const losses: Record<string, (lockFile: string) => void> = {
  deleted: (lockFile) => unlinkSync(lockFile),
  'replaced by a new file': (lockFile) => {
    unlinkSync(lockFile);
    writeFileSync(lockFile, '');
  },
  'replaced by a file that was renamed over it': (lockFile) => {
    writeFileSync(`${lockFile}.new`, '');
    renameSync(`${lockFile}.new`, lockFile);
  },
};

for (const [how, lose] of Object.entries(losses)) {
  test(`a running server whose lock file is ${how} is unhealthy, and a stop ends it`, async (t) => {
    const { manager, pid } = await startRedis(t);
    lose(manager.spec.lockFile);
    const { state, pid: reported, checks } = await manager.status();
    assert.deepEqual([state, reported, checks.lock, checks.process], ['unhealthy', pid, false, true]);
    assert.equal(await manager.isRunning(), false);
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.equal(isRunningProcess(pid), false);
    assert.equal((await manager.status()).state, 'stopped');
  });

  test(`starts from several processes side by side never make two servers when the lock file is ${how}`, async (t) => {
    const { manager, pid, spec } = await startRedis(t);
    lose(manager.spec.lockFile);
    const others = await Promise.all([1, 2, 3].map(() => startRemoteManager(t, spec)));
    const started = await Promise.all([manager, ...others].map((each) => each.start()));
    assert.equal(isRunningProcess(pid), false);
    assert.equal(started.filter(({ reused }) => !reused).length, 1);
    const [fresh] = started;
    assert.ok(started.every((instance) => instance.pid === fresh?.pid));
    assert.equal(await redisPid(spec.port), fresh?.pid);
    assert.deepEqual(await lockHolders(manager.spec.lockFile), [fresh?.pid]);
    assert.equal((await manager.status()).state, 'running');
  });
}

test('a server that lost its lock file and its journal blocks a start elsewhere, which names it', async (t) => {
  const { manager, pid, spec } = await startRedis(t);
  killAfter(t, pid);
  unlinkSync(manager.spec.lockFile);
  unlinkSync(journalFile(manager.spec));
  await assert.rejects(callElsewhere<Instance>(t, 'start', spec), { name: 'PortInUseError', pid });
  assert.equal(isRunningProcess(pid), true);
});

test('a stranger that locked the new lock file is not signalled, and a start makes no second server', async (t) => {
  const { manager, pid, spec } = await startRedis(t);
  killAfter(t, pid);
  unlinkSync(manager.spec.lockFile);
  const stranger = startProgram(t, 'setsid', ['flock', manager.spec.lockFile, 'sleep', '300']);
  const holders = await eventually('the stranger and its child hold the lock', async () => {
    const pids = await lockHolders(manager.spec.lockFile);
    return pids.length === 2 ? pids : undefined;
  });
  for (const holder of holders) killAfter(t, holder);
  await assert.rejects(new ProcessManager({ ...spec, startTimeoutMs: 300 }).start(), { name: 'UnhealthyError' });
  assert.equal(isRunningProcess(pid), true);
  assert.ok(stranger.isAlive && holders.every(isRunningProcess));
  stranger.kill();
  for (const holder of holders) process.kill(holder, 'SIGKILL');
  await eventually('the lock is free', () => !isLocked(manager.spec.lockFile));
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(pid), false);
});

test('a lock file that is deleted while a start is under way never leads to two servers', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 150 });
  const managers = await Promise.all([startRemoteManager(t, spec), startRemoteManager(t, spec)]);
  const lockFile = join(spec.stateDir, 'node-server.lock');
  for (let round = 1; round <= rounds(20); round += 1) {
    const [first, second] = managers;
    const firstStart = first.start().catch((error: Error) => error);
    const before = first.events.length;
    await eventually('the process is spawned', () =>
      first.events.slice(before).some(({ event }) => event === 'spawned'),
    );
    rmSync(lockFile);
    const secondStart = second.start().catch((error: Error) => error);
    for (const outcome of await Promise.all([firstStart, secondStart])) {
      if (outcome instanceof Error)
        assert.match(outcome.name, /^(LockUnavailableError|EarlyExitError|PortInUseError)$/);
    }
    const alive = spawnedPids(managers).filter(isRunningProcess);
    assert.ok(alive.length <= 1, `round ${round}: ${alive}`);
    await first.stop();
    assert.deepEqual(spawnedPids(managers).filter(isRunningProcess), [], `round ${round}`);
  }
});

test('a server that closes its inherited descriptors is ended, and no process of it is left', async (t) => {
  const spec = await pythonSpec(t, 'close-descriptors');
  const manager = new ProcessManager(spec);
  let pid = 0;
  manager.on('spawned', (instance) => {
    pid = instance.pid;
  });
  await assert.rejects(manager.start(), (error: Error & { pid?: number; code?: string }) => {
    assert.deepEqual([error.name, error.code, error.pid], ['LockDroppedError', 'ERR_LOCK_DROPPED', pid]);
    return true;
  });
  assert.equal(isRunningProcess(pid), false);
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal((await manager.status()).state, 'stopped');
  await assert.rejects(redisPid(spec.port), { code: 'ECONNREFUSED' });
});

test('a server that puts itself into the background and whose lock file is deleted before it is ready is ended', async (t) => {
  let looks = 0;
  const spec = await pythonSpec(t, 'daemonise', {
    checkTimeoutMs: 10_000,
    isHealthy: ({ pid }) => {
      if (!readFileSync(`${spec.stateDir}/logs/python-server.log`, 'utf8').includes(`listening ${pid}\n`)) return false; // This process only forks.
      looks += 1;
      if (looks === 1) unlinkSync(lockFile);
      return looks > 2;
    },
  });
  const lockFile = join(spec.stateDir, 'python-server.lock');
  const outcome = await outcomeOf(new ProcessManager(spec).start());
  assert.equal(outcome instanceof Error && outcome.name, 'LockUnavailableError', String(outcome));
  await eventually('no process is left', () => processesIn(spec.stateDir).length === 0);
  unlinkSync(join(spec.stateDir, 'python-server.pid'));
  assertNothingLeft(spec);
});

/** The duration of a check that hangs. */
const LOOK_MS = 60_000;

test('a stop during a start that ends a server without its lock file waits until that server is gone', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: LOOK_MS });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  unlinkSync(manager.spec.lockFile);
  const start = outcomeOf(manager.start());
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  // The start itself would send SIGKILL much later.
  assert.equal((await new ProcessManager({ ...spec, stopTimeoutMs: 300 }).stop()).outcome, 'killed');
  assert.equal(isRunningProcess(pid), false);
  const outcome = await start;
  assert.equal(outcome instanceof Error && outcome.name, 'StoppedError');
  assert.equal((await manager.status()).state, 'stopped');
});

test('the time in which a server without its lock file is ended does not count as start time', async (t) => {
  const startTimeoutMs = 2_000;
  let isFirstCheck = true;
  const manager = new ProcessManager({
    ...(await nodeSpec(t, { 'on-term': startTimeoutMs + 100 }, { startTimeoutMs, stopTimeoutMs: 10_000 })),
    isHealthy: () => {
      const wasFirst = isFirstCheck;
      isFirstCheck = false;
      return !wasFirst;
    },
  });
  const first = await manager.start();
  unlinkSync(manager.spec.lockFile);
  isFirstCheck = true;
  const { outcome, ms } = await timely(manager.start());
  assert.ok(!(outcome instanceof Error), String(outcome));
  assert.ok(ms > startTimeoutMs, `${ms} ms`);
  assert.deepEqual([first.pid, outcome.pid].map(isRunningProcess), [false, true]);
});

async function startRedis(
  t: TestContext,
): Promise<{ manager: ProcessManager; pid: number; spec: ProcessSpec & { port: number } }> {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  return { manager, pid, spec };
}

function spawnedPids(managers: Awaited<ReturnType<typeof startRemoteManager>>[]): number[] {
  return managers
    .flatMap(({ events }) => events.filter(({ event }) => event === 'spawned'))
    .map(({ detail }) => (detail as { pid: number }).pid);
}

test('a server that dropped its lock is a stranger to a manager of a copy of its state folder', async (t) => {
  const drop = join(temporaryFolder(t), 'drop');
  const args = ['-c', 'until [ -e "$0" ]; do sleep 0.05; done; exec sleep 300 3<&-', drop];
  const spec: ProcessSpec = { name: 'dropping', command: '/bin/sh', args, stateDir: join(temporaryFolder(t), 'state') };
  const original = new ProcessManager(spec);
  const { pid } = await original.start();
  killAfter(t, pid);
  writeFileSync(drop, '');
  await eventually('the lock is dropped', () => !isLocked(original.spec.lockFile));
  unlinkSync(drop);
  const stateDir = `${spec.stateDir}-copy`;
  cpSync(spec.stateDir, stateDir, { recursive: true });
  const copy = new ProcessManager({ ...spec, stateDir });
  assert.equal((await copy.status()).state, 'stopped');
  await copy.start();
  await copy.stop();
  assert.equal(isRunningProcess(pid), true);
  assert.equal((await original.status()).state, 'unhealthy');
  assert.equal((await original.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(pid), false);
});
