import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { isLocked, ProcessManager, type StopResult } from '../../src/index.js';
import { terminate } from '../../src/stop/terminate.js';
import { processTable } from '../../src/system/process-table.js';
import { oddServer } from '../campaign/odd-server.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { callElsewhere, oneCallCommand } from '../helpers/one-call.js';
import { isRunning, logged, processesIn, reachesState, stateOf } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startFixture, startProgram } from '../helpers/programs.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec } from '../helpers/servers.js';
import { eventually, MUST_HAPPEN_MS } from '../helpers/waiting.js';

async function canListen(port: number): Promise<boolean> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

test('a stop from another process frees the lock and the port, and removes the PID file', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  assert.equal((await callElsewhere<StopResult>(t, 'stop', spec)).outcome, 'stopped');
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal(existsSync(manager.spec.pidFile), false);
  assert.equal(await canListen(spec.port), true);
  assert.equal(isRunning(pid), false);
  assert.deepEqual(processesIn(spec.stateDir), []);
});

test('a process that ignores SIGTERM is killed after stopTimeoutMs, and not before', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 2_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const began = performance.now();
  assert.equal((await manager.stop()).outcome, 'killed');
  const took = performance.now() - began;
  assert.ok(took >= 2_000 && took < 2_000 + 5_000, `${took} ms`);
  assert.match((await manager.logTail()).join('\n'), /ignoring SIGTERM/);
  assert.equal(isRunning(pid), false);
});

test('a process that ends slowly after SIGTERM is not killed', async (t) => {
  const manager = new ProcessManager(await nodeSpec(t, { 'on-term': 300 }));
  await manager.start();
  const began = performance.now();
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.ok(performance.now() - began >= 290);
});

test('with stopTimeoutMs 0 a stop kills at once, and sends no other signal', async (t) => {
  const manager = new ProcessManager(await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 0 }));
  await manager.start();
  const began = performance.now();
  assert.equal((await manager.stop()).outcome, 'killed');
  assert.ok(performance.now() - began < 2_000);
  assert.doesNotMatch((await manager.logTail()).join('\n'), /ignoring SIGTERM/);
});

test('a stop sends stopSignal', async (t) => {
  const manager = new ProcessManager(await nodeSpec(t, { 'on-term': 'ignore' }, { stopSignal: 'SIGINT' }));
  const exits: unknown[] = [];
  manager.on('exit', ({ signal }) => exits.push(signal));
  await manager.start();
  assert.equal((await manager.stop()).outcome, 'stopped');
  await eventually('the exit event is emitted', () => exits.length > 0);
  assert.deepEqual(exits, ['SIGINT']);
});

test('a suspended process gets the stop signal, is resumed and ends, long before stopTimeoutMs', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { stopTimeoutMs: MUST_HAPPEN_MS * 2 }));
  const { pid } = await manager.start();
  process.kill(pid, 'SIGSTOP');
  await reachesState(pid, 'T');
  const began = performance.now();
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.ok(performance.now() - began < MUST_HAPPEN_MS);
  assert.match((await manager.logTail()).join('\n'), /bye bye/, 'it ended in its own way');
});

test('a stop ends the whole group, with a child that the server does not end itself', async (t) => {
  const manager = new ProcessManager(await nodeSpec(t, { child: 'stay' }));
  await manager.start();
  const child = killAfter(t, Number((await logged(manager.spec.logFile, /child (\d+)/))[1]));
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(child), false);
});

test('a child that ignores SIGTERM keeps a stop waiting, and is killed', async (t) => {
  const script = 'trap "" TERM; sleep 300 & trap - TERM; echo "child $!"; wait';
  const { port: _, ...spec } = await redisSpec(t, { command: '/bin/sh', args: ['-c', script], stopTimeoutMs: 400 });
  const manager = new ProcessManager(spec);
  await manager.start();
  const child = killAfter(t, Number((await logged(manager.spec.logFile, /child (\d+)/))[1]));
  const began = performance.now();
  assert.equal((await manager.stop()).outcome, 'killed');
  assert.ok(performance.now() - began >= 400);
  assert.equal(isRunning(child), false);
});

for (const stopSignal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`a child in a session of its own is stopped, too (stopSignal ${stopSignal})`, async (t) => {
    const manager = new ProcessManager(await nodeSpec(t, { child: 'session' }, { stopSignal }));
    await manager.start();
    const child = killAfter(t, Number((await logged(manager.spec.logFile, /child (\d+)/))[1]));
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.equal(isRunning(child), false);
    assert.deepEqual(processesIn(manager.spec.stateDir), []);
  });
}

test('a grandchild in the group that does not have the lock is stopped, too', async (t) => {
  const script = 'sleep 300 3>&- & echo "grandchild $!"; exec sleep 300';
  const { port: _, ...spec } = await redisSpec(t, { command: '/bin/sh', args: ['-c', `sh -c '${script}' & wait`] });
  const manager = new ProcessManager(spec);
  await manager.start();
  const grandchild = killAfter(t, Number((await logged(manager.spec.logFile, /grandchild (\d+)/))[1]));
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(grandchild), false);
});

test('a stop does not wait for a zombie that its parent never collects', async (t) => {
  const spec = await redisSpec(t, { stopTimeoutMs: 60_000 });
  const parent = startProgram(t, 'python3', [plainFixture('negligent-parent.py'), ...oneCallCommand('start', spec)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await parent.printed(/left to me/);
  const manager = new ProcessManager(spec);
  const pid = Number((await manager.status()).pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(stateOf(pid), 'Z', 'this is a test of zombies');
  assert.equal((await manager.status()).state, 'stopped');
  const next = await manager.start();
  assert.notEqual(next.pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
});

test('a server that puts itself into the background is adopted under its new PID, and stopped', async (t) => {
  const manager = new ProcessManager(await pythonSpec(t, 'daemonise'));
  const spawned: number[] = [];
  manager.on('spawned', ({ pid }) => spawned.push(pid));
  const { pid, reused } = await manager.start();
  assert.notEqual(pid, spawned[0]);
  assert.equal(reused, false);
  assert.equal(Number((await logged(manager.spec.logFile, /listening (\d+)/))[1]), pid);
  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([state, found, checks.pidFile, checks.identity], ['running', pid, true, true]);
  assert.equal((await manager.start()).pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
});

test('a child that exits only after its own child listens is not taken for the server in the background', async (t) => {
  const server = await oddServer({ index: 1, after: (end) => t.after(end), diagnostic: (text) => t.diagnostic(text) }, [
    'daemonise',
    'late-parent=50',
  ]);
  const { pid } = await server.manager.start();
  assert.equal(pid, server.members().at(-1));
  assert.equal((await server.manager.stop()).outcome, 'stopped');
  await server.assertNothingLeft();
});

test('a stop finds the process without its PID file', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pid } = await manager.start();
  rmSync(manager.spec.pidFile);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
});

test('after a crash there is nothing to stop, and the PID file is removed', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pid } = await manager.start();
  process.kill(pid, 'SIGKILL');
  await eventually('the process has ended', () => !isRunning(pid));
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(existsSync(manager.spec.pidFile), false);
});

test('a child of this process is collected when stop(), or the stop within restart(), is done, and leaves no zombie', async (t) => {
  for (const lifetime of ['detached', 'tied'] as const) {
    const manager = new ProcessManager(await redisSpec(t, { lifetime, stopSignal: 'SIGKILL' }));
    manager.on('stopped', () => assert.equal(stateOf(pid), undefined, 'after the first half'));
    let { pid } = await manager.start();
    for (let round = 0; round < 10; round += 1) {
      ({ pid } = await manager.restart());
      await manager.stop();
      assert.equal(stateOf(pid), undefined, `round ${round}`);
      ({ pid } = await manager.start());
    }
  }
});

test('stop() of a process that this program has spawned keeps the program alive until the process is collected', async (t) => {
  const spec = await redisSpec(t, { stopSignal: 'SIGKILL' });
  const { stdout, exitCode } = await startFixture(
    t,
    'calls',
    [JSON.stringify(spec), ...Array.from({ length: 10 }, () => ['start', 'stop']).flat()],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  ).ended();
  assert.deepEqual([stdout, exitCode], ['stopped\n'.repeat(10), 0]);
});

for (const isHeir of [false, true]) {
  test(`a process that is found only after the grace is ${isHeir ? 'killed' : 'left alone'} when the first process is ${isHeir ? 'still' : 'no longer'} found with it`, async (t) => {
    const stubborn = startProgram(t, 'sh', ['-c', 'trap "" TERM; echo up; exec sleep 300'], { detached: true });
    await stubborn.printed(/up/);
    const other = startProgram(t, 'sleep', ['300'], { detached: true });
    const [first, second] = [stubborn, other].map(({ pid }) => processTable().lookUp(pid) ?? assert.fail());
    const finds = [[first], isHeir ? [first, second] : [second]];
    const { outcome } = await terminate(() => finds.shift()?.filter((it) => it !== undefined) ?? [], {
      stopSignal: 'SIGTERM',
      graceMs: 100,
    });
    assert.equal(outcome, 'killed');
    assert.deepEqual([stubborn.pid, other.pid].map(isRunningProcess), [false, !isHeir]);
  });
}
