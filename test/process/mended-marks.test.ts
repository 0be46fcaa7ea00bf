/** Stops and restarts that come while starts are under way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLocked, lockHolders, ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { Gate, outcomeOf } from '../helpers/gate.js';
import { startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter, rounds } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const LONG_MS = 60_000;

for (const command of ['false', 'sleep']) {
  test(`a start that is older than a stop does not survive it, although a later start (${command}) cleared the mark`, async (t) => {
    const gate = new Gate();
    const spec = sleepSpec(t, { checkTimeoutMs: LONG_MS, startTimeoutMs: LONG_MS, isHealthy: () => true });
    const manager = new ProcessManager(spec);
    await manager.start();
    const older = new ProcessManager({
      ...spec,
      isHealthy: async (instance) => {
        await gate.pass(instance);
        return false;
      },
    });
    const olderStart = outcomeOf(older.start());
    await gate.asked;
    await manager.stop();
    const later = await outcomeOf(
      new ProcessManager({ ...spec, command, isHealthy: () => command === 'sleep' }).start(),
    );
    assert.equal(later instanceof Error ? later.name : later.reused, command === 'false' ? 'EarlyExitError' : false);
    gate.open();
    const outcome = await olderStart;
    assert.equal(outcome instanceof Error && outcome.name, 'StoppedError');
    assert.equal(isLocked(manager.spec.lockFile), command === 'sleep');
  });
}

test('a restart that comes while a start waits for readiness ends it with no error, and both get one process', async (t) => {
  const gate = new Gate();
  const spec = sleepSpec(t, { checkTimeoutMs: LONG_MS, startTimeoutMs: LONG_MS, isHealthy: () => true });
  const starter = new ProcessManager({
    ...spec,
    isHealthy: async (instance) => {
      await gate.pass(instance);
      return true;
    },
  });
  const start = starter.start();
  const first = await gate.asked;
  const restart = new ProcessManager(spec).restart();
  await eventually('the end of the first one', () => !isRunningProcess(first.pid));
  gate.open();
  const [started, restarted] = await Promise.all([start, restart]);
  assert.equal(started.pid, restarted.pid);
  assert.notEqual(started.pid, first.pid);
});

test('restarts that race with starts, after a stop or not, end none of them', async (t) => {
  const spec = sleepSpec(t);
  const [restarter, ...starters] = await Promise.all([1, 2, 3].map(() => startRemoteManager(t, spec)));
  for (let round = 1; round <= rounds(60); round += 1) {
    if (round % 2 === 0) await restarter?.stop();
    const calls = [restarter?.restart(), ...starters.map((starter) => starter.start())];
    const outcomes = await Promise.all(calls.map((call) => outcomeOf(Promise.resolve(call))));
    const errors = outcomes.flatMap((outcome) =>
      outcome instanceof Error ? `${outcome.name}: ${outcome.message}` : [],
    );
    assert.deepEqual(errors, [], `round ${round}`);
  }
});

test('a start that finds an old mark and a stranger on the lock names the stranger', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const { lockFile } = manager.spec;
  startProgram(t, 'flock', ['-n', lockFile, 'tail', '-f', '/dev/null']);
  const holders = await eventually('the stranger holds the lock', async () => {
    const pids = await lockHolders(lockFile);
    return pids.length === 2 ? pids : undefined;
  });
  for (const pid of holders) killAfter(t, pid);
  const impatient = new ProcessManager({ ...spec, startTimeoutMs: 200, stopTimeoutMs: 200 });
  const error = (await outcomeOf(impatient.start())) as Error & { holders?: number[] };
  assert.equal(error.name, 'StopTimeoutError');
  assert.deepEqual(error.holders?.toSorted(), holders.toSorted());
  assert.match(error.message, new RegExp(String(holders[0])));
  assert.ok(holders.every(isRunningProcess));
  // The after-hook stops: it needs the lock.
  for (const pid of holders) process.kill(pid, 'SIGKILL');
  await eventually('the lock is free', () => !isLocked(lockFile));
});
