/** A process whose main thread has ended looks like a zombie while its other threads live. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { FlockProcessError, isLocked, ProcessManager, type ProcessSpec, UnhealthyError } from '../../src/index.js';
import { isZombie } from '../helpers/evidence.js';
import { outcomeOf } from '../helpers/gate.js';
import { isRunning } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { freePort, killAfter, temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { startOwner } from '../helpers/tied.js';
import { eventually, MUST_HAPPEN_MS, STILL_MS } from '../helpers/waiting.js';

type Test = Parameters<typeof sleepSpec>[0];

function askedToEnd(t: Test, changes: Partial<ProcessSpec> = {}): { spec: ProcessSpec; folder: string } {
  const folder = temporaryFolder(t);
  const port = changes.port === undefined ? [] : [String(changes.port)];
  const args = [plainFixture('asked-to-end.py'), folder, ...port];
  return { spec: sleepSpec(t, { command: 'python3', args, ...changes }), folder };
}

/** Threads that live, whatever the main one says. */
function threadsOf(pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.filter((thread) => !isZombie(Number(thread))).length;
  } catch {
    return 0; // ENOENT, ESRCH: it is gone.
  }
}

for (const isHealthy of [true, false]) {
  test(`a start whose main thread ends meanwhile is over in time and leaves nothing, health ${isHealthy}`, async (t) => {
    const { spec, folder } = askedToEnd(t, { startTimeoutMs: 2_000 });
    let pid = 0;
    const manager = new ProcessManager({
      ...spec,
      isHealthy: async (instance) => {
        await eventually('it is up', () => existsSync(join(folder, 'up')));
        writeFileSync(join(folder, 'end-main'), '');
        await eventually('its main thread has ended', () => isZombie(instance.pid) && threadsOf(instance.pid) > 0);
        return isHealthy;
      },
    });
    manager.on('spawned', (instance) => {
      pid = killAfter(t, instance.pid);
    });
    const began = performance.now();
    const outcome = await outcomeOf(manager.start());
    assert.ok(performance.now() - began < MUST_HAPPEN_MS);
    assert.ok(outcome instanceof FlockProcessError, String(outcome));
    assert.equal(threadsOf(pid), 0);
    assert.equal(isLocked(manager.spec.lockFile), false);
    assert.equal((await manager.status()).state, 'stopped');
  });
}

test('while a process ends and its port still accepts, nobody takes what it leaves behind for it', async (t) => {
  const { spec, folder } = askedToEnd(t, { port: await freePort(), stopTimeoutMs: 200 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  killAfter(t, pid);
  await eventually('it is up', () => existsSync(join(folder, 'up')));
  const child = killAfter(t, Number(readFileSync(join(folder, 'child'), 'utf8')));
  writeFileSync(join(folder, 'end-main'), '');
  await eventually('its main thread has ended', () => isZombie(pid) && threadsOf(pid) > 0);

  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([found, checks.lock, checks.process], [undefined, true, false], state);
  await assert.rejects(new ProcessManager({ ...spec, startTimeoutMs: 300 }).start(), UnhealthyError);
  assert.match(readFileSync(manager.spec.pidFile, 'utf8'), new RegExp(`^${pid}\n`));
  assert.equal(isRunning(child), true);

  rmSync(join(folder, 'end-main'));
  process.kill(pid, 'SIGKILL');
  const next = await manager.start();
  assert.ok(![pid, child].includes(next.pid), `PID ${next.pid}`);
  assert.equal(isRunning(child), false);
});

test('a tied server whose main thread has ended is given its time to end when its owner dies', async (t) => {
  const { spec, folder } = askedToEnd(t, { lifetime: 'tied', stopTimeoutMs: 60_000 });
  const { pid, program } = await startOwner(t, spec);
  killAfter(t, pid);
  await eventually('it is up', () => existsSync(join(folder, 'up')));
  writeFileSync(join(folder, 'end-main'), '');
  await eventually('its main thread has ended', () => isZombie(pid) && threadsOf(pid) > 0);
  program.kill();
  await eventually('the stop signal', () => existsSync(join(folder, 'asked')));
  await delay(STILL_MS);
  assert.ok(threadsOf(pid) > 0);
  writeFileSync(join(folder, 'go'), '');
  await eventually('its end', () => threadsOf(pid) === 0);
});

for (const [stopSignal, number] of [
  ['SIGIOT', 6],
  ['SIGSTKFLT', 16],
] as const) {
  test(`${stopSignal} as stop signal reaches a tied server whose owner dies`, async (t) => {
    const { spec, folder } = askedToEnd(t, { lifetime: 'tied', stopTimeoutMs: 60_000, stopSignal });
    const { pid, program } = await startOwner(t, spec);
    killAfter(t, pid);
    await eventually('it is up', () => existsSync(join(folder, 'up')));
    program.kill();
    await eventually('the stop signal', () => existsSync(join(folder, 'asked')));
    assert.equal(Number(readFileSync(join(folder, 'asked'), 'utf8')), number);
    writeFileSync(join(folder, 'go'), '');
    await eventually('its end', () => threadsOf(pid) === 0);
  });
}
