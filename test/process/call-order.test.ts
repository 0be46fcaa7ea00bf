/** Calls of one manager in the same tick take effect in the order in which they are made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProcessManager, StoppedError } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf } from '../helpers/gate.js';
import { sleepSpec } from '../helpers/servers.js';
import { reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';

for (const [what, arrange] of [
  ['of a running process', async (manager: ProcessManager) => void (await manager.start())],
  ['of a process that never ran', async () => undefined],
  ['of a process that is being started', async (manager: ProcessManager) => void outcomeOf(manager.start())],
  [
    'of what is supervised',
    async (manager: ProcessManager) => {
      manager.supervise();
      await eventually('the process runs', () => manager.isRunning());
    },
  ],
] as const) {
  test(`a start() that is called right after a stop() ${what} comes later: the process runs`, async (t) => {
    const manager = new ProcessManager(sleepSpec(t));
    await arrange(manager);
    const stopped = manager.stop();
    const started = manager.start();
    await stopped;
    const { pid } = await started;
    assert.deepEqual([isRunningProcess(pid), (await manager.status()).state], [true, 'running']);
  });

  test(`a supervise() that is called right after a stop() ${what} comes later: the process is kept running`, async (t) => {
    const supervision = new Supervision(t);
    const manager = new ProcessManager(sleepSpec(t));
    await arrange(manager);
    const stopped = manager.stop();
    const again = new ProcessManager(manager.spec);
    const supervisor = supervision.add((what === 'of what is supervised' ? again : manager).supervise());
    await stopped;
    await reaches(supervisor, 'watching');
    assert.equal(await manager.isRunning(), true);
  });

  test(`a restart() that is called right after a stop() ${what} comes later: the process runs`, async (t) => {
    const manager = new ProcessManager(sleepSpec(t));
    await arrange(manager);
    const stopped = manager.stop();
    const restarted = manager.restart();
    await stopped;
    assert.equal(isRunningProcess((await restarted).pid), true);
  });
}

for (const lifetime of ['detached', 'tied', 'shared'] as const) {
  test(`a stop() that is called right after a restart() of a ${lifetime} process comes later: the process is stopped`, async (t) => {
    const manager = new ProcessManager(sleepSpec(t, { lifetime }));
    await manager.start();
    const restarted = outcomeOf(manager.restart());
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.ok((await restarted) instanceof StoppedError);
    assert.equal((await manager.status()).state, 'stopped');
  });
}

test('calls of one tick take effect in their order', async (t) => {
  const manager = new ProcessManager(sleepSpec(t));
  const calls = [manager.start(), manager.stop(), manager.start(), manager.stop(), manager.start()];
  const outcomes = await Promise.all(calls.map((call) => outcomeOf<unknown>(call)));
  const names = outcomes.map((outcome) => (outcome instanceof Error ? outcome.name : 'through'));
  assert.deepEqual(names, ['StoppedError', 'through', 'StoppedError', 'through', 'through']);
  assert.equal((await manager.status()).state, 'running');
  const { stopping, start } = { stopping: manager.stop(), start: outcomeOf(manager.start()) };
  const last = manager.stop();
  await Promise.all([stopping, last]);
  assert.equal(((await start) as Error).name, 'StoppedError');
  assert.equal((await manager.status()).state, 'stopped');
});
