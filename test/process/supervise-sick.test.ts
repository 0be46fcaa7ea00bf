import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, lockHolders, ProcessManager } from '../../src/index.js';
import { tryFlock } from '../../src/lock/flock.js';
import { endSick } from '../../src/stop/stop.js';
import { watchSignals } from '../helpers/evidence.js';
import { appendToJournal, journalFile } from '../helpers/journal.js';
import { isRunning } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

const OFTEN = { checkIntervalMs: 10, ...NEVER_GIVE_UP };

test('a process that lives but fails its checks is replaced after unhealthyAfter failures in a row, and not before', async (t) => {
  const supervision = new Supervision(t);
  const answers: boolean[] = [];
  const isHealthy = () => answers.shift() ?? true;
  const spec = await redisSpec(t, { isHealthy });
  // The manager of the supervisor has a short start time: once that is over, a failed check means unhealthy.
  const manager = new ProcessManager({ ...spec, startTimeoutMs: 1_000 });
  const { pid } = await new ProcessManager(spec).start();
  await eventually(
    'the process is too old to be starting',
    async () => ((await manager.status()).uptimeMs ?? 0) > 1_000,
  );
  const unhealthy: (number | undefined)[] = [];
  manager.on('unhealthy', (report) => {
    assert.equal(report.checks.health, false);
    unhealthy.push(report.pid);
  });
  const supervisor = await supervision.here(manager, { ...OFTEN, unhealthyAfter: 3 });
  answers.push(...[false, false, true, false, false, true, false, false, true]);
  await eventually('nine health checks are made', () => answers.length === 0);
  assert.deepEqual([supervisor.restarts, isRunning(pid)], [0, true]);
  assert.deepEqual(unhealthy, Array(6).fill(pid));
  answers.push(false, false, false);
  await once(manager, 'ready');
  await eventually('the restart is counted', () => supervisor.restarts === 1);
  assert.deepEqual(unhealthy, Array(9).fill(pid));
  assert.equal(isRunning(pid), false);
  assert.notEqual(await redisPid(spec.port), pid);
});

test('a suspended process is replaced without waiting until SIGKILL is due', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  await supervision.here(manager, OFTEN);
  const pid = await redisPid(spec.port);
  const [exited, ready] = [once(manager, 'exit'), once(manager, 'ready')];
  process.kill(pid, 'SIGSTOP');
  assert.deepEqual(await exited, [{ pid, exitCode: 0, signal: null }]);
  await ready;
  assert.notEqual(await redisPid(spec.port), pid);
});

test('a suspended child of another process is replaced, too', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t, { stopTimeoutMs: 60_000 });
  await supervision.elsewhere(spec, OFTEN);
  const pid = await redisPid(spec.port);
  await supervision.here(new ProcessManager(spec), OFTEN);
  process.kill(pid, 'SIGSTOP');
  await eventually('another server answers', async () => (await redisPid(spec.port).catch(() => pid)) !== pid);
  assert.equal(isRunning(pid), false);
});

for (const kind of ['stay', 'ignore', 'session']) {
  test(`the survivors of a crashed server (--child=${kind}) are ended, and a new server is started`, async (t) => {
    const supervision = new Supervision(t);
    const spec = await nodeSpec(t, { child: kind }, { stopTimeoutMs: 300 });
    const manager = new ProcessManager(spec);
    const supervisor = await supervision.here(manager, NEVER_GIVE_UP);
    const { pid = 0 } = await manager.status();
    assert.ok(pid > 1);
    const child = await eventually('the child is up', () => {
      const logText = readFileSync(manager.spec.logFile, 'utf8');
      const found = /child (\d+)\n/.exec(logText)?.[1];
      return logText.includes(`up: ${found}\n`) ? Number(found) : undefined;
    });
    killAfter(t, child);
    const unhealthy = once(manager, 'unhealthy');
    const ready = once(manager, 'ready');
    process.kill(pid, 'SIGKILL');
    // The exit triggers the check at once, not after the five seconds between two checks.
    const [report] = await unhealthy;
    assert.deepEqual([report.checks.process, report.pid], [false, undefined]);
    const [{ pid: next }] = await ready;
    assert.deepEqual([pid, child].map(isRunning), [false, false]);
    assert.ok((await lockHolders(manager.spec.lockFile)).includes(next));
    await reaches(supervisor, 'watching');
    assert.equal(supervisor.restarts, 1);
    // The new server has a child, too: the stop finds all of them.
    assert.deepEqual(await manager.stop().then(() => isLocked(manager.spec.lockFile)), false);
  });
}

test('survivors that somebody else has replaced meanwhile are not ended', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pid } = await manager.start();
  assert.equal(await endSick(manager.spec, undefined), false);
  assert.equal(await endSick(manager.spec, pid + 1), false);
  assert.equal((await manager.status()).pid, pid);
  assert.equal(await endSick(manager.spec, pid), true);
});

const losses: Record<string, (lockFile: string) => void> = {
  deleted: (lockFile) => rmSync(lockFile),
  'replaced by a new file': (lockFile) => {
    writeFileSync(`${lockFile}.new`, '');
    renameSync(`${lockFile}.new`, lockFile);
  },
};

for (const [how, lose] of Object.entries(losses)) {
  test(`a process whose lock file is ${how} is ended and started again, by a supervisor here or elsewhere`, async (t) => {
    const supervision = new Supervision(t);
    const spec = await redisSpec(t);
    const manager = new ProcessManager(spec);
    await supervision.elsewhere(spec, NEVER_GIVE_UP);
    const supervisor = await supervision.here(manager, NEVER_GIVE_UP);
    const pids = new Set<number>();
    for (let round = 0; round < 3; round += 1) {
      const pid = await redisPid(spec.port);
      pids.add(pid);
      lose(manager.spec.lockFile);
      await eventually('another process holds the lock', async () => {
        const { state, pid: now } = await manager.status();
        return state === 'running' && now !== pid;
      });
      assert.equal(isRunning(pid), false);
      await reaches(supervisor, 'watching');
    }
    assert.equal(pids.size, 3);
    // For a moment the supervisor that spawned the process still has its own copy of the lock.
    await eventually('the lock has one holder', async () => (await lockHolders(manager.spec.lockFile)).length === 1);
    assert.deepEqual(await lockHolders(manager.spec.lockFile), [await redisPid(spec.port)]);
  });
}

test('a supervisor beside a stranger with the lock ends nobody, and starts its process when the lock is free, even after a stop', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  // The manager of the supervisor has a short start time: once that is over, the holder cannot be a start.
  const manager = new ProcessManager({ ...spec, startTimeoutMs: 1_000 });
  await new ProcessManager(spec).start();
  await manager.stop();
  const { lockFile } = manager.spec;
  // flock(1) waits for the lock, so a probe of ours at that moment does not make it fail.
  const stranger = startProgram(t, 'setsid', ['flock', lockFile, 'sleep', '300'], { stdio: 'ignore' });
  await eventually(
    'two processes hold the lock',
    async () => isLocked(lockFile) && (await lockHolders(lockFile)).length === 2,
  );
  const holders = await lockHolders(lockFile);
  for (const holder of holders) killAfter(t, holder);
  const signals = watchSignals(t);
  const supervisor = await supervision.here(manager, { ...OFTEN, unhealthyAfter: 1 });
  await delay(STILL_MS);
  assert.deepEqual(signals.targets(), []);
  assert.ok(stranger.isAlive && holders.every(isRunning));
  assert.deepEqual([supervisor.state, (await manager.status()).state], ['watching', 'unknown']);
  const ready = once(manager, 'ready');
  for (const holder of holders) process.kill(holder, 'SIGKILL');
  await ready;
});

for (const event of ['abandon', 'restart']) {
  test(`a process that somebody was ending (${event}) is replaced when he is gone, and left to him while he is at it`, async (t) => {
    const supervision = new Supervision(t);
    const spec = await redisSpec(t);
    await supervision.here(new ProcessManager(spec), OFTEN);
    const pid = await redisPid(spec.port);
    const fd = openSync(journalFile(spec), 'r');
    assert.equal(tryFlock(fd, 'sh'), true);
    appendToJournal(spec, event);
    assert.equal((await new ProcessManager(spec).status()).state, 'stopping');
    await delay(STILL_MS);
    assert.equal(await redisPid(spec.port), pid);
    closeSync(fd);
    await eventually('another server answers', async () => (await redisPid(spec.port).catch(() => pid)) !== pid);
    assert.equal(isRunning(pid), false);
  });
}

test('a sick process is not ended when somebody else has begun to end it since the look', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const at = new Date(Date.now() - 60_000).toISOString();
  appendToJournal(spec, 'restart', { at });
  const ended = endSick(manager.spec, pid);
  // endSick() has read the journal in this turn.
  appendToJournal(spec, 'abandon', { at });
  assert.equal(await ended, false);
  assert.equal(isRunning(pid), true);
  assert.equal(await endSick(manager.spec, pid), true);
  assert.equal(isRunning(pid), false);
});

test('a process that called become() and is not ready is replaced when whoever was ending it is gone', async (t) => {
  const supervision = new Supervision(t);
  const spec = sleepSpec(t);
  const remote = await startRemoteManager(t, spec);
  const pid = await remote.become();
  appendToJournal(spec, 'abandon', { at: new Date(Date.now() - 60_000).toISOString() });
  const manager = new ProcessManager(spec);
  supervision.add(manager.supervise({ ...OFTEN, respectStop: true }));
  await once(manager, 'ready');
  assert.equal(isRunning(pid), false);
});
