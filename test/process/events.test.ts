import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { type Instance, ProcessManager, type StopResult } from '../../src/index.js';
import { callElsewhere } from '../helpers/one-call.js';
import { isRunning, processesIn } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec, pythonSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const NAMES = ['spawned', 'ready', 'exit', 'stopped'] as const;

function recorded(manager: ProcessManager): [name: string, detail: unknown][] {
  const events: [string, unknown][] = [];
  for (const name of NAMES) manager.on(name, (detail: unknown) => events.push([name, detail]));
  return events;
}

test('a start emits spawned and ready, and a stop exit and stopped, each once and with its facts', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const events = recorded(manager);
  const instance = await manager.start();
  assert.deepEqual(events, [
    ['spawned', instance],
    ['ready', instance],
  ]);
  await manager.stop();
  await eventually('four events are emitted', () => events.length === 4);
  const [exit, stopped] = events.slice(2).sort(([one], [other]) => one.localeCompare(other));
  assert.deepEqual(exit, ['exit', { pid: instance.pid, exitCode: 0, signal: null }]);
  const [, result] = stopped as ['stopped', StopResult];
  assert.deepEqual([stopped?.[0], result.outcome, Number.isInteger(result.tookMs)], ['stopped', 'stopped', true]);
});

test('a restart emits exit and stopped of the old process, and then spawned and ready of the new one', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  const events = recorded(manager);
  await manager.restart();
  await eventually('four events are emitted', () => events.length === 4);
  const names = events.map(([name]) => name);
  assert.deepEqual(
    names.filter((name) => name !== 'exit'),
    ['stopped', 'spawned', 'ready'],
  );
});

test('a crash emits exit with the signal', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pid } = await manager.start();
  const events = recorded(manager);
  process.kill(pid, 'SIGKILL');
  await eventually('the exit event is emitted', () => events.length > 0);
  assert.deepEqual(events, [['exit', { pid, exitCode: null, signal: 'SIGKILL' }]]);
});

test('a start that fails emits spawned and exit, and never ready', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { command: 'false', args: [] }));
  const events = recorded(manager);
  await assert.rejects(manager.start());
  assert.deepEqual(
    events.map(([name]) => name),
    ['spawned', 'exit'],
  );
});

test('for a reused process ready is emitted here, and exit where the process was spawned', async (t) => {
  const spec = await redisSpec(t);
  const remote = await startRemoteManager(t, spec);
  const { pid } = await remote.start();
  const manager = new ProcessManager(spec);
  const events = recorded(manager);
  const instance = await manager.start();
  assert.equal(instance.pid, pid);
  assert.deepEqual(events, [['ready', instance]]);
  await manager.stop();
  assert.equal(events.map(([name]) => name).join(), 'ready,stopped');
  await eventually('the exit event is emitted in the other process', () =>
    remote.events.some(({ event }) => event === 'exit'),
  );
});

test('for a server that puts itself into the background spawned names the first PID, and ready the PID that stays', async (t) => {
  const manager = new ProcessManager(await pythonSpec(t, 'daemonise'));
  const events = recorded(manager);
  const { pid } = await manager.start();
  assert.deepEqual(
    events.map(([name]) => name),
    ['spawned', 'exit', 'ready'],
  );
  const [spawned, , ready] = events.map(([, detail]) => (detail as Instance).pid);
  assert.notEqual(spawned, pid);
  assert.equal(ready, pid);
});

test('a listener that throws breaks nothing, and its error surfaces on the next tick', async (t) => {
  const spec = await redisSpec(t);
  const { stdout, stderr, exitCode } = await startFixture(t, 'throwing-listeners', [JSON.stringify(spec)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  }).ended();
  const lines = stdout.trimEnd().split('\n');
  const pid = lines.find((line) => line.startsWith('started'))?.replace('started ', '');
  assert.equal(exitCode, 0, stderr);
  assert.deepEqual(
    lines.filter((line) => !line.startsWith('surfaced')),
    [`started ${pid}`, `running ${pid}`, 'outcome stopped', 'then stopped'],
  );
  const surfaced = NAMES.map((name) => `surfaced: listener of ${name}`);
  assert.deepEqual(lines.filter((line) => line.startsWith('surfaced')).sort(), surfaced.toSorted());
  assert.ok(lines.indexOf('surfaced: listener of spawned') < lines.indexOf(`started ${pid}`));
});

test('the library installs no signal handler, and no other listener, on the process', async (t) => {
  const listeners = () => process.eventNames().map((name) => [name, process.listenerCount(name)]);
  const before = listeners();
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  assert.deepEqual(listeners(), before);
  await manager.restart();
  await manager.status({ usage: true });
  await manager.stop();
  assert.deepEqual(listeners(), before);
});

for (const [what, spec] of [
  ['redis', (t: TestContext) => redisSpec(t)],
  ['a server that puts itself into the background', (t: TestContext) => pythonSpec(t, 'daemonise')],
  ['a server that prints', (t: TestContext) => nodeSpec(t, { print: 'hello' })],
] as const) {
  test(`neither the manager nor the managed process keeps the starter alive, and the process outlives it: ${what}`, async (t) => {
    const options = await spec(t);
    // Each call is made in a process that must end by itself.
    const { pid, reused } = await callElsewhere<Instance>(t, 'start', options);
    assert.equal(reused, false);
    assert.equal(isRunning(pid), true);
    const again = await callElsewhere<Instance>(t, 'start', options);
    assert.deepEqual([again.pid, again.reused], [pid, true]);
    assert.equal((await callElsewhere<StopResult>(t, 'stop', options)).outcome, 'stopped');
    assert.equal(isRunning(pid), false);
  });
}

test('after fifty starts and stops as many descriptors are open as after one', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { stopSignal: 'SIGKILL' }));
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const cycle = async () => {
    await manager.start();
    await manager.status();
    await manager.stop();
  };
  await cycle();
  await eventually('all sockets are closed', () =>
    process.getActiveResourcesInfo().every((name) => name !== 'TCPSocketWrap'),
  );
  const before = descriptors();
  for (let round = 0; round < 50; round += 1) await cycle();
  await eventually(`at most ${before} descriptors are open, at first ${descriptors()}`, () => descriptors() <= before);
  assert.deepEqual(processesIn(manager.spec.stateDir), []);
});
