/** A program knows the processes that it has spawned itself, even when somebody has removed the folder with their files. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Instance, ProcessManager, type ProcessSpec, startEphemeral, startShared } from '../../src/index.js';
import { spawnedUnder } from '../../src/system/own-children.js';
import { nodePreset, ownTemporaryFolder, redisPreset, userFolder } from '../helpers/ephemeral.js';
import { isRunning, stateOf } from '../helpers/outside-view.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { ownKey } from '../helpers/shared.js';
import { groupEnds } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { accepts, livingInGroup } from '../helpers/witness.js';

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

async function started(t: TestContext, spec: ProcessSpec): Promise<{ manager: ProcessManager; instance: Instance }> {
  const manager = new ProcessManager(spec);
  t.after(() => manager.stop());
  const instance = await manager.start();
  killAfter(t, instance.pid);
  return { manager, instance };
}

test('stop() of an ephemeral instance ends its server although its folder was removed', async (t) => {
  ownTemporaryFolder(t);
  for (const preset of [redisPreset, nodePreset({ child: 'stay' })]) {
    const server = await startEphemeral(preset);
    killAfter(t, server.pid);
    remove(server.stateDir);
    await server.stop();
    assert.deepEqual([livingInGroup(server.pid), await accepts(server.port)], [[], false]);
    assert.equal(existsSync(server.stateDir), false);
  }
});

test('stop() of an ephemeral instance ends its server although the whole folder for temporary files was removed', async (t) => {
  ownTemporaryFolder(t);
  const server = await startEphemeral(redisPreset);
  killAfter(t, server.pid);
  remove(userFolder());
  await server.stop();
  assert.deepEqual([livingInGroup(server.pid), await accepts(server.port)], [[], false]);
});

test('stop() of an ephemeral instance ends its server although its folder was moved', async (t) => {
  ownTemporaryFolder(t);
  const server = await startEphemeral(redisPreset);
  killAfter(t, server.pid);
  renameSync(server.stateDir, `${server.stateDir}.moved`);
  await server.stop();
  assert.deepEqual(livingInGroup(server.pid), []);
});

test('a shared instance whose files were all removed ends with its last user', async (t) => {
  ownTemporaryFolder(t);
  const server = await startShared(redisPreset, { key: ownKey() });
  killAfter(t, server.pid);
  remove(userFolder());
  await server.leave();
  assert.equal(isRunning(server.pid), false);
  // The watcher can be quicker than leave(), which does not see it any more: it exits a moment after the server.
  await groupEnds(server.pid);
});

for (const lifetime of ['detached', 'tied'] as const) {
  test(`stop, restart, start and status find a ${lifetime} server whose state folder was removed`, async (t) => {
    const spec = { ...(await redisSpec(t)), lifetime };
    const { manager, instance } = await started(t, spec);
    remove(spec.stateDir);
    const { state, pid, checks } = await manager.status();
    assert.deepEqual([state, pid, checks.lock], ['unhealthy', instance.pid, false]);
    const restarted = await manager.restart();
    assert.deepEqual([restarted.reused, isRunning(instance.pid)], [false, false]);
    remove(spec.stateDir);
    const again = await manager.start();
    assert.deepEqual([again.reused, isRunning(restarted.pid)], [false, false]);
    remove(spec.stateDir);
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.deepEqual([isRunning(again.pid), await accepts(spec.port)], [false, false]);
    assert.equal((await manager.stop()).outcome, 'not-running');
  });
}

test('another manager of this process with the same lock file finds the server of a removed folder, too', async (t) => {
  const { manager, instance } = await started(t, sleepSpec(t));
  remove(manager.spec.stateDir);
  assert.equal((await new ProcessManager(manager.spec).stop()).outcome, 'stopped');
  assert.equal(isRunning(instance.pid), false);
});

test('a supervisor replaces a server whose folder was removed, and two servers never run', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const supervisor = manager.supervise();
  t.after(() => manager.stop());
  const pid = () => Number(readFileSync(join(spec.stateDir, 'sleeper.pid'), 'utf8').split('\n')[0]);
  await eventually('the supervisor is watching', () => supervisor.state === 'watching');
  const first = killAfter(t, pid());
  remove(spec.stateDir);
  const next = await eventually('the PID file exists again', () =>
    existsSync(join(spec.stateDir, 'sleeper.pid')) ? pid() : undefined,
  );
  killAfter(t, next);
  await eventually('the supervisor is watching', () => supervisor.state === 'watching');
  assert.deepEqual([isRunning(first), isRunning(next)], [false, true]);
});

test('a server that put itself into the background is found under its new PID after its folder was removed', async (t) => {
  const { manager, instance } = await started(t, await pythonSpec(t, 'daemonise'));
  remove(dirname(manager.spec.lockFile));
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(instance.pid), false);
});

test('a stopped process is forgotten, so that a program may start any number with a lock file each', async (t) => {
  const { manager } = await started(t, sleepSpec(t));
  const { lockFile } = manager.spec;
  assert.notEqual(spawnedUnder(lockFile), undefined);
  await manager.stop();
  assert.equal(spawnedUnder(lockFile), undefined);
});

test('a process that has ended is forgotten, and a later process with its number is not signalled', async (t) => {
  const { manager, instance } = await started(t, await nodeSpec(t));
  process.kill(instance.pid, 'SIGKILL');
  await eventually('the process has ended', () => !isRunning(instance.pid));
  remove(manager.spec.stateDir);
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(existsSync(manager.spec.stateDir), false, 'no state folder was created');
});

test('thirty stops side by side collect thirty killed children, and Node warns of no listeners', async (t) => {
  const warnings: Error[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on('warning', listen);
  t.after(() => process.off('warning', listen));
  const managers = Array.from({ length: 30 }, () => new ProcessManager(sleepSpec(t)));
  const started = await Promise.all(managers.map((manager) => manager.start()));
  // All are killed in one turn, so Node has collected none of them when the first stop is done.
  for (const { pid } of started) process.kill(pid, 'SIGKILL');
  while (started.some(({ pid }) => stateOf(pid) !== 'Z'));
  const stopped = await Promise.all(managers.map((manager) => manager.stop()));
  assert.deepEqual(new Set(stopped.map(({ outcome }) => outcome)), new Set(['not-running']));
  assert.ok(started.every(({ pid }) => stateOf(pid) === undefined));
  assert.deepEqual(warnings, []);
});
