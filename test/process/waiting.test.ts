/** What a start() that has to wait reports by `waiting`, and that every start() emits `ready`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Instance, ProcessManager, type ProcessManagerEvents } from '../../src/index.js';
import { journalEntries } from '../helpers/journal.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { fileGate, stateAfter, talkerSpec } from '../helpers/talker.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

type Waiting = ProcessManagerEvents['waiting'][0];

function recorded(manager: ProcessManager) {
  const waiting: Waiting[] = [];
  const ready: Instance[] = [];
  manager.on('waiting', (detail) => waiting.push(detail));
  manager.on('ready', (instance) => ready.push(instance));
  return { waiting, ready };
}

test('a start that has nothing to wait for emits only ready, whoever has spawned the process', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { waiting, ready } = recorded(manager);
  const instances = [await manager.start(), await manager.start(), await manager.restart()];
  assert.deepEqual(ready, instances);
  const other = new ProcessManager(spec);
  const others = recorded(other);
  const found = await other.start();
  assert.deepEqual([others.ready, found.reused], [[found], true]);
  assert.deepEqual([waiting, others.waiting], [[], []]);
});

test('a start that waits for another start emits waiting once, with the PID of the process', async (t) => {
  const gate = fileGate(t);
  const spec = talkerSpec(t, [gate.step, 'it is ready\n'], { readyLine: 'is ready' });
  const remote = await startRemoteManager(t, spec);
  const first = remote.start();
  const spawned = await eventually('the process is spawned', () => journalEntries(spec, 'spawn').at(-1));
  const manager = new ProcessManager(spec);
  const { waiting, ready } = recorded(manager);
  const start = manager.start();
  await eventually('the start has emitted waiting', () => waiting.length > 0);
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  gate.open();
  assert.equal((await start).pid, (await first).pid);
  assert.deepEqual(waiting, [{ for: 'ready', pid: spawned.pid }]);
  assert.equal(ready.length, 1);
});

test('a start that waits for a stop emits waiting with the PID of the stopper', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 700 });
  const remote = await startRemoteManager(t, spec);
  const manager = new ProcessManager(spec);
  await manager.start();
  const { waiting } = recorded(manager);
  const stop = remote.stop();
  await eventually('the stop is in the journal', () => journalEntries(spec, 'stop').length > 0);
  const { reused } = await manager.start();
  assert.equal((await stop).outcome, 'stopped');
  assert.equal(reused, false);
  assert.deepEqual(waiting, [{ for: 'stop', pid: remote.program.pid }]);
});

test('a start that waits for the port of another start emits waiting with the PID of that starter, which the error names, too', async (t) => {
  const slow = await nodeSpec(t, { 'listen-after': 1_000 });
  const remote = await startRemoteManager(t, slow);
  const first = remote.start();
  first.catch(() => undefined);
  await eventually('the process is spawned', () => journalEntries(slow, 'spawn').length > 0);
  const manager = new ProcessManager(await redisSpec(t, { port: slow.port, startTimeoutMs: 300 }));
  const { waiting } = recorded(manager);
  const { pid } = remote.program;
  await assert.rejects(manager.start(), {
    name: 'PortInUseError',
    pid,
    message: `Cannot start redis: another process is being started on port ${slow.port} by PID ${pid}`,
  });
  assert.deepEqual(waiting, [{ for: 'port', pid }]);
  await first;
});
