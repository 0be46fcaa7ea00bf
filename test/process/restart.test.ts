import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Instance, ProcessManager, type ProcessSpec, StoppedError } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { Gate, outcomeOf } from '../helpers/gate.js';
import { appendToJournal, journalEntries } from '../helpers/journal.js';
import { isRunning, logged } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

test('a restart returns a new process that is ready, and the old one is gone', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const first = await manager.start();
  const second = await manager.restart();
  assert.notEqual(second.pid, first.pid);
  assert.equal(second.reused, false);
  assert.equal(isRunning(first.pid), false);
  const { state, pid } = await manager.status();
  assert.deepEqual([state, pid], ['running', second.pid]);
  assert.deepEqual(
    journalEntries(manager.spec)
      .map(({ event }) => event)
      .filter((event) => event !== 'exit'),
    ['start', 'spawn', 'ready', 'restart', 'stopped', 'start', 'spawn', 'ready'],
  );
});

test('a restart of a stopped process, and of one that never ran, is a start', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const first = await manager.restart();
  assert.equal(isRunning(first.pid), true);
  await manager.stop();
  const second = await manager.restart();
  assert.equal(isRunning(second.pid), true);
  assert.equal((await manager.status()).state, 'running');
});

test('the state during a restart is "stopping"', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const restarted = manager.restart();
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  assert.equal((await manager.status()).state, 'stopping');
  process.kill(pid, 'SIGKILL');
  await restarted;
  await killedNow(spec);
});

test('a start elsewhere during a restart is not ended, and both return the new process', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const elsewhere = await startRemoteManager(t, spec);
  const { pid } = await manager.start();
  const restarted = manager.restart();
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  const started = elsewhere.start();
  process.kill(pid, 'SIGKILL');
  const [one, other] = await Promise.all([restarted, started]);
  assert.equal(one.pid, other.pid);
  assert.notEqual(one.pid, pid);
  assert.deepEqual([one.reused, other.reused].sort(), [false, true]);
  await killedNow(spec);
});

test('a start that is under way when a restart comes returns the new process', async (t) => {
  let isWell = false;
  const spec = await redisSpec(t, { startTimeoutMs: 60_000, isHealthy: () => isWell });
  const manager = new ProcessManager(spec);
  const started = manager.start();
  await logged(manager.spec.logFile, /Ready to accept connections/);
  const restarted = new ProcessManager(spec).restart();
  await eventually('the first process has ended', async () =>
    readFileSync(manager.spec.logFile, 'utf8').includes('bye bye'),
  );
  isWell = true;
  const [one, other] = await Promise.all([started, restarted]);
  assert.equal(one.pid, other.pid);
  assert.equal((await manager.status()).pid, one.pid);
});

test('a stop during a restart wins: the restart throws StoppedError, and no process comes up', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const restarted = assert.rejects(manager.restart(), StoppedError);
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  const stopped = new ProcessManager(spec).stop();
  await eventually('the stop is in the journal', () => journalEntries(spec, 'stop').length === 1);
  process.kill(pid, 'SIGKILL');
  await Promise.all([restarted, stopped]);
  assert.equal((await manager.status()).state, 'stopped');
});

test('after a restart was killed half-way the next start ends the old process and returns a new one', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 300 });
  const manager = new ProcessManager(spec);
  const remote = await startRemoteManager(t, { ...spec, stopTimeoutMs: 60_000 });
  const { pid } = await manager.start();
  void remote.restart().catch(() => undefined);
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  remote.kill();
  await remote.program.ended();
  assert.equal((await manager.status()).state, 'stopping');
  const next: Instance = await manager.start();
  assert.notEqual(next.pid, pid);
  assert.equal(isRunning(pid), false);
  assert.equal((await manager.status()).state, 'running');
  await killedNow(spec);
});

test('after a restart was killed between its stop and its start the next start spawns a new process', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  await manager.stop();
  appendToJournal(manager.spec, 'restart');
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal((await manager.start()).reused, false);
  assert.equal((await manager.status()).state, 'running');
});

test('a restart with a missing command stops the process, and then throws CommandNotFoundError', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const broken = new ProcessManager({ ...spec, command: 'no-such-command' });
  await assert.rejects(broken.restart(), { name: 'CommandNotFoundError' });
  assert.equal(isRunning(pid), false, 'the stop within the restart is done');
  assert.equal((await manager.status()).state, 'stopped');
});

/** Kills a server that ignores SIGTERM, without waiting. */
async function killedNow(spec: ProcessSpec): Promise<void> {
  await new ProcessManager({ ...spec, stopTimeoutMs: 0 }).stop();
}

const LONG_MS = 60_000;

test('a restart during a health check of a start makes both return the same new process', async (t) => {
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
  await eventually('the first process has ended', () => !isRunningProcess(first.pid));
  gate.open();
  const [started, restarted] = await Promise.all([start, restart]);
  assert.equal(started.pid, restarted.pid);
  assert.notEqual(started.pid, first.pid);
});

test('neither a restart nor a start fails in a race of them, whether a stop came before or not', async (t) => {
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
