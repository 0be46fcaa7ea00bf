/**
 * npm run, npx, and launchers in Node or Python start the real server without descriptor 3. These tests end the wrapper
 * alone.
 */
import assert from 'node:assert/strict';
import { renameSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { isLocked, ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { journalEntries } from '../helpers/journal.js';
import { callOnDarwin } from '../helpers/one-call.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter } from '../helpers/resources.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';
import {
  loggedPids,
  loseWrapper,
  serverOf,
  serversOf,
  startWrapped,
  WRAPPERS,
  type Wrapped,
  wrappedSpec,
} from '../helpers/wrapped.js';

for (const wrapper of WRAPPERS) {
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    test(`when ${wrapper} alone is ended by ${signal} its server is unhealthy, a start replaces it, and a stop ends it`, async (t) => {
      const first = await startWrapped(t, wrapper);
      const { manager, spec } = first;
      await loseWrapper(first, signal);
      await isUnhealthy(first);
      const { pid, reused } = await manager.start();
      assert.deepEqual([reused, isRunningProcess(first.server)], [false, false]);
      const server = await serverOf(spec);
      assert.equal((await manager.status()).state, 'running');
      await loseWrapper({ manager, wrapper: pid, server }, signal);
      assert.equal((await manager.stop()).outcome, 'stopped');
      await nothingIsLeft(first);
    });
  }

  test(`after ${wrapper} on a port was killed starts from several processes make one server, and so does a restart`, async (t) => {
    const first = await startWrapped(t, wrapper, { hasPort: true });
    const { manager, spec } = first;
    const others = await Promise.all([1, 2].map(() => startRemoteManager(t, spec)));
    await loseWrapper(first);
    await isUnhealthy(first);
    const started = await Promise.all([manager, ...others].map((each) => each.start()));
    assert.equal(new Set(started.map(({ pid }) => pid)).size, 1);
    assert.equal(started.filter(({ reused }) => !reused).length, 1);
    const server = await serverOf(spec);
    assert.notEqual(server, first.server);
    await loseWrapper({ manager, wrapper: started[0]?.pid ?? 0, server });
    await manager.restart();
    assert.notEqual(await serverOf(spec), server);
    assert.equal((await manager.stop()).outcome, 'stopped');
    await nothingIsLeft(first);
  });
}

for (const wrapper of ['npm run', 'node'] as const) {
  test(`a supervisor replaces the server of a killed ${wrapper}, every time`, async (t) => {
    const supervision = new Supervision(t);
    const spec = await wrappedSpec(t, wrapper, { hasPort: true });
    const manager = new ProcessManager(spec);
    const supervisor = await supervision.here(manager, NEVER_GIVE_UP);
    for (let restarts = 1; restarts <= 3; restarts += 1) {
      const server = await serverOf(spec);
      const { pid: lost = 0 } = await manager.status();
      process.kill(lost, 'SIGKILL');
      await eventually(
        'the process is restarted',
        () => supervisor.restarts === restarts && supervisor.state === 'watching',
      );
      assert.equal(isRunningProcess(server), false);
    }
    await serverOf(spec);
    await manager.stop();
    assert.deepEqual(serversOf(spec), []);
  });

  test(`when a supervisor is killed together with ${wrapper}, the next start replaces the server`, async (t) => {
    const supervision = new Supervision(t);
    const spec = await wrappedSpec(t, wrapper);
    const manager = new ProcessManager(spec);
    const supervisor = await supervision.elsewhere(spec, NEVER_GIVE_UP);
    const server = await serverOf(spec);
    const { pid: lost = 0 } = await manager.status();
    supervisor.kill();
    await supervisor.program.exited;
    await loseWrapper({ manager, wrapper: lost, server });
    await manager.start();
    assert.notEqual(await serverOf(spec), server);
  });

  test(`the server of a killed ${wrapper} in a shared process is replaced, and ends with the last user`, async (t) => {
    const first = await startWrapped(t, wrapper, {}, { lifetime: 'shared' });
    const { manager, spec } = first;
    await loseWrapper(first);
    await isUnhealthy(first);
    const other = new ProcessManager(spec);
    const { reused } = await other.start();
    assert.deepEqual([reused, isRunningProcess(first.server)], [false, false]);
    const { pid: next } = await manager.start();
    await loseWrapper({ manager, wrapper: next, server: await serverOf(spec) });
    await Promise.all([manager.leave(), other.leave()]);
    await nothingIsLeft(first);
  });

  test(`the server of a killed ${wrapper} in a tied process never runs beside its successor`, async (t) => {
    const first = await startWrapped(t, wrapper, {}, { lifetime: 'tied' });
    const { manager, spec } = first;
    process.kill(first.wrapper, 'SIGKILL');
    await eventually('the lock is free', () => !isLocked(manager.spec.lockFile));
    const { reused } = await manager.start();
    assert.deepEqual([reused, isRunningProcess(first.server)], [false, false]);
    await serverOf(spec);
    assert.equal((await manager.stop()).outcome, 'stopped');
    await nothingIsLeft(first);
  });
}

test('the server of a killed wrapper is ended by a stop after its supervisor has given up', async (t) => {
  const supervision = new Supervision(t);
  const spec = await wrappedSpec(t, 'node');
  const manager = new ProcessManager(spec);
  const supervisor = await supervision.here(manager, { giveUpAfter: { restarts: 0 } });
  await serverOf(spec);
  const { pid: lost = 0 } = await manager.status();
  process.kill(lost, 'SIGKILL');
  await reaches(supervisor, 'gave-up');
  await isUnhealthy({ manager });
  await manager.stop();
  await nothingIsLeft({ manager, spec });
});

test('the server of a killed wrapper that ignores the stop signal is killed', async (t) => {
  const wrapped = await startWrapped(t, 'node', { behaviour: { 'on-term': 'ignore' } }, { stopTimeoutMs: 300 });
  await loseWrapper(wrapped);
  assert.equal((await wrapped.manager.stop()).outcome, 'killed');
  await nothingIsLeft(wrapped);
});

test('a stop ends a server in a group of its own together with its wrapper', async (t) => {
  const wrapped = await startWrapped(t, 'python', { flags: ['--own-group'] });
  assert.equal((await wrapped.manager.stop()).outcome, 'stopped');
  await nothingIsLeft(wrapped);
});

test('a second stop after a killed wrapper finds nothing', async (t) => {
  const wrapped = await startWrapped(t, 'node');
  await loseWrapper(wrapped);
  await wrapped.manager.stop();
  assert.equal((await wrapped.manager.stop()).outcome, 'not-running');
});

const removals: Record<string, (logFile: string) => void> = {
  renamed: (logFile) => renameSync(logFile, `${logFile}.moved`),
  deleted: (logFile) => rmSync(logFile),
};
for (const [how, remove] of Object.entries(removals)) {
  test(`a server of a killed wrapper is found although its log was ${how}`, async (t) => {
    const wrapped = await startWrapped(t, 'node');
    await loseWrapper(wrapped);
    remove(wrapped.manager.spec.logFile);
    await wrapped.manager.start();
    assert.equal(isRunningProcess(wrapped.server), false);
    await serverOf(wrapped.spec);
  });
}

for (const code of [0, 1]) {
  test(`a launcher that exits with code ${code} before its server is ready causes EarlyExitError, and its server is ended`, async (t) => {
    const flags = ['--own-group', `--leave=${code}`];
    const spec = await wrappedSpec(t, 'python', { hasPort: true, flags, behaviour: { 'listen-after': 60_000 } });
    await assert.rejects(new ProcessManager(spec).start(), { name: 'EarlyExitError' });
    assert.deepEqual(serversOf(spec), []);
  });
}

test('a survivor without the lock lives on beside an adopted one, and the start after the death of the adopted one ends it', async (t) => {
  const first = await startWrapped(t, 'node', { hasPort: true, flags: ['--hand-on', '--second'] });
  const { manager, spec, server } = first;
  const [second = 0] = loggedPids(manager, 'second').map((pid) => killAfter(t, pid));
  process.kill(first.wrapper, 'SIGKILL');
  await eventually('the wrapper has ended', () => !isRunningProcess(first.wrapper));
  const adopted = await manager.start();
  assert.deepEqual([adopted.pid, adopted.reused, isRunningProcess(second)], [server, true, true]);
  const [former, latter] = journalEntries(spec, 'spawn');
  assert.deepEqual(latter?.log, former?.log);
  process.kill(server, 'SIGKILL');
  await eventually('the lock is free', () => !isLocked(manager.spec.lockFile));
  await manager.start();
  assert.equal(isRunningProcess(second), false);
});

test('without /proc the process group stands for the session', async (t) => {
  const spec = await wrappedSpec(t, 'node', { hasPort: true });
  const manager = new ProcessManager(spec);
  const startThere = async () => {
    const { pid: wrapper } = await callOnDarwin<{ pid: number }>(t, 'start', spec);
    return { manager, spec, wrapper, server: await serverOf(spec) };
  };
  const first = await startThere();
  await loseWrapper(first);
  assert.equal((await callOnDarwin<{ state: string }>(t, 'status', spec)).state, 'unhealthy');
  const second = await startThere();
  assert.equal(isRunningProcess(first.server), false);
  await loseWrapper(second);
  assert.equal((await callOnDarwin<{ outcome: string }>(t, 'stop', spec)).outcome, 'stopped');
  await nothingIsLeft(second);
});

async function isUnhealthy({ manager }: Pick<Wrapped, 'manager'>): Promise<void> {
  const { state, pid, checks } = await manager.status();
  assert.deepEqual([state, pid, checks.lock, checks.process], ['unhealthy', undefined, false, false]);
  assert.equal(await manager.isRunning(), false);
}

async function nothingIsLeft({ manager, spec }: Pick<Wrapped, 'manager' | 'spec'>): Promise<void> {
  assert.deepEqual(serversOf(spec), []);
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal((await manager.status()).state, 'stopped');
}
