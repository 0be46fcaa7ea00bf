import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { existsSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, isLocked, ProcessManager, type StopResult } from '../../src/index.js';
import { appendToJournal } from '../helpers/journal.js';
import { callElsewhere } from '../helpers/one-call.js';
import { isRunning, processesIn } from '../helpers/outside-view.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';
import { witnessedServer } from '../helpers/witness.js';

/** The time that a stop may take: 2 × stopTimeoutMs + 5 s. */
const STOP_LIMIT_MS = 7_000;

test('a process that is stopped from outside at a random instant of a restart stays stopped', async (t) => {
  const random = seededRandom(t);
  const supervision = new Supervision(t);
  const server = await witnessedServer(t);
  const outside = new ProcessManager(server.spec);
  const supervisor = await supervision.elsewhere(server.spec, NEVER_GIVE_UP);
  const outcomes: Record<string, number> = {};
  for (let round = 0; round < rounds(50); round += 1) {
    const { pid } = await outside.start();
    await reaches(supervisor, 'watching');
    process.kill(pid, 'SIGKILL');
    await delay(random.between(0, 150));
    const { outcome } = await outside.stop();
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    assert.deepEqual(server.alive(), [], `round ${round}: ${outcome}`);
    await reaches(supervisor, 'standby');
    await delay(STILL_MS);
    await server.assertNothingThere();
  }
  t.diagnostic(JSON.stringify(outcomes));
  server.assertNeverTwo();
});

for (const who of ['manager', 'supervisor'] as const) {
  test(`stop() of the ${who} does not wait for a check that never answers`, async (t) => {
    const supervision = new Supervision(t);
    const { hangs, changes } = hanging();
    const spec = await redisSpec(t, changes);
    const manager = new ProcessManager(spec);
    const supervisor = await supervision.here(manager, { ...NEVER_GIVE_UP, checkIntervalMs: 10 });
    hangs.now = true;
    await eventually('a health check hangs', () => hangs.signals.length > 0);
    const began = performance.now();
    await (who === 'manager' ? manager : supervisor).stop();
    assert.ok(performance.now() - began < STOP_LIMIT_MS);
    assert.deepEqual([supervisor.state, hangs.signals.map(({ aborted }) => aborted)], ['stopped', [true]]);
    await supervisor.done;
    hangs.now = false;
    assert.equal((await manager.status()).state, who === 'manager' ? 'stopped' : 'running');
  });
}

test('a stop does not wait for a supervisor that is checking a process of another starter', async (t) => {
  const supervision = new Supervision(t);
  const { hangs, changes } = hanging();
  const spec = await redisSpec(t, changes);
  const { pid } = await new ProcessManager(spec).start();
  hangs.now = true;
  const manager = new ProcessManager(spec);
  const supervisor = supervision.add(manager.supervise());
  await eventually('a health check hangs', () => hangs.signals.length > 0);
  const began = performance.now();
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.ok(performance.now() - began < STOP_LIMIT_MS);
  assert.deepEqual([supervisor.state, isRunning(pid)], ['stopped', false]);
});

test('a stop from elsewhere puts the supervisor on standby, and a start from elsewhere makes it watch again', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const supervisor = await supervision.here(manager, NEVER_GIVE_UP);
  for (const round of [1, 2]) {
    assert.equal((await callElsewhere<StopResult>(t, 'stop', spec)).outcome, 'stopped');
    await reaches(supervisor, 'standby');
    await delay(STILL_MS);
    assert.equal(isLocked(manager.spec.lockFile), false);
    const { pid } = await callElsewhere<Instance>(t, 'start', spec);
    await reaches(supervisor, 'watching');
    const ready = once(manager, 'ready');
    process.kill(pid, 'SIGKILL');
    await ready;
    await eventually('each restart is counted once', () => supervisor.restarts === round);
  }
});

test('when a start from elsewhere ends the standby and fails, the supervisor starts the process', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const supervisor = await supervision.here(manager);
  await callElsewhere<StopResult>(t, 'stop', spec);
  await reaches(supervisor, 'standby');
  // The supervisor watches again while the failing start has the lock.
  const ready = once(manager, 'ready');
  await assert.rejects(callElsewhere(t, 'start', { ...spec, command: 'no-such-command' }), {
    name: 'CommandNotFoundError',
  });
  await ready;
  await reaches(supervisor, 'watching');
  assert.equal((await manager.status()).state, 'running');
});

test('stop() of the manager ends its supervisor, whether the process is ready or not', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { 'listen-after': 100 });
  const manager = new ProcessManager(spec);
  for (const event of ['spawned', 'ready'] as const) {
    const supervisor = supervision.add(manager.supervise());
    await once(manager, event);
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.equal(supervisor.state, 'stopped');
    await supervisor.done;
    await delay(STILL_MS);
    assert.deepEqual(processesIn(spec.stateDir), []);
  }
});

test('stop() of a supervisor lets a start that is under way finish, and the process runs on', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await nodeSpec(t, { 'listen-after': 300 }));
  const ready: number[] = [];
  manager.on('ready', ({ pid }) => ready.push(pid));
  const supervisor = supervision.add(manager.supervise());
  await once(manager, 'spawned');
  await Promise.all([supervisor.stop(), supervisor.stop()]);
  assert.equal(supervisor.state, 'stopped');
  assert.equal(ready.length, 1);
  const { state, pid } = await manager.status();
  assert.deepEqual([state, pid], ['running', ready[0]]);
  await supervisor.stop();
});

test('when a supervisor is stopped while it replaces an unhealthy process the new process runs on', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { 'on-term': 1_200 }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const options = { checkIntervalMs: 10, unhealthyAfter: 1, giveUpAfter: { restarts: 0 } };
  const supervisor = await supervision.here(manager, options);
  const { pid } = await manager.status();
  process.kill(pid as number, 'SIGSTOP');
  await reaches(supervisor, 'restarting');
  await supervisor.stop();
  const { state, pid: next } = await manager.status();
  assert.equal(state, 'running');
  assert.notEqual(next, pid);
  await supervisor.done;
});

test('a stop from elsewhere while a supervisor ends an unhealthy process is no crash: the supervisor is on standby', async (t) => {
  const supervision = new Supervision(t);
  let isWell = true;
  const changes = { stopTimeoutMs: 60_000, isHealthy: () => isWell };
  const { spec, pids } = await witnessedServer(t, { dieAfterMs: 1_200 }, changes);
  const manager = new ProcessManager(spec);
  const supervisor = await supervision.here(manager, {
    checkIntervalMs: 10,
    unhealthyAfter: 1,
    giveUpAfter: { restarts: 0 },
  });
  isWell = false;
  await reaches(supervisor, 'restarting');
  const { isHealthy: _, ...plain } = spec;
  const elsewhere = new ProcessManager(plain);
  assert.notEqual((await elsewhere.stop()).outcome, 'killed');
  await reaches(supervisor, 'standby');
  const events = (await manager.history()).map(({ event }) => event);
  assert.deepEqual([events.includes('crash'), events.includes('give-up'), pids().length], [false, false, 1]);
  isWell = true;
  const { pid } = await elsewhere.start();
  await reaches(supervisor, 'watching');
  assert.equal((await manager.status()).pid, pid);
});

test('with respectStop a supervisor leaves a process alone that was stopped on purpose, until somebody starts it', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const supervisor = await supervision.here(manager, { respectStop: true });
  assert.equal(supervisor.state, 'standby');
  await delay(STILL_MS);
  assert.equal(isLocked(manager.spec.lockFile), false);
  const { pid } = await callElsewhere<Instance>(t, 'start', spec);
  await reaches(supervisor, 'watching');
  assert.equal(isRunning(pid), true);
});

test('with respectStop a supervisor starts a process that was never stopped, and one whose restart died half-way', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const first = await supervision.here(manager, { respectStop: true });
  assert.equal(first.state, 'watching');
  await manager.stop();
  appendToJournal(spec, 'restart');
  const second = await supervision.here(manager, { respectStop: true });
  await reaches(second, 'watching');
  assert.equal((await manager.status()).state, 'running');
});

test('without respectStop a supervisor starts a process that was stopped on purpose, too', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  await manager.stop();
  assert.equal((await supervision.here(manager)).state, 'watching');
  assert.equal((await manager.status()).state, 'running');
});

test('the signal of a supervisor ends it, and with an aborted signal it does not begin', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const never = supervision.add(manager.supervise({ signal: AbortSignal.abort() }));
  await never.done;
  assert.equal(never.state, 'stopped');
  assert.equal(existsSync(spec.stateDir), false);
  const controller = new AbortController();
  const supervisor = await supervision.here(manager, { signal: controller.signal });
  const { pid } = await manager.status();
  controller.abort();
  await supervisor.done;
  assert.equal(supervisor.state, 'stopped');
  assert.equal(isRunning(pid ?? 0), true);
  const other = new AbortController();
  await (await supervision.here(manager, { signal: other.signal })).stop();
  assert.deepEqual(getEventListeners(other.signal, 'abort'), [], 'no listener is left');
  await manager.stop();
  assert.deepEqual(processesIn(spec.stateDir), []);
});

test('a supervisor repeats a first start that failed before it undid an earlier stop, and a later stop still counts', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  await manager.stop();
  const { lockFile } = manager.spec;
  rmSync(lockFile);
  mkdirSync(lockFile);
  const supervisor = supervision.add(manager.supervise({ ...NEVER_GIVE_UP, backoff: { initialMs: 10, maxMs: 10 } }));
  await once(manager, 'restarting');
  await delay(STILL_MS);
  assert.equal(supervisor.state, 'restarting');
  rmdirSync(lockFile);
  await reaches(supervisor, 'watching');
  assert.equal((await manager.status()).state, 'running');
  await new ProcessManager(manager.spec).stop();
  await reaches(supervisor, 'standby');
});

/** After `hangs.now` is set isHealthy never answers, whatever its signal does. */
function hanging() {
  const hangs = { now: false, signals: [] as AbortSignal[] };
  const isHealthy = (_: Instance, signal: AbortSignal): boolean | Promise<boolean> => {
    if (!hangs.now) return true;
    hangs.signals.push(signal);
    return new Promise(() => undefined);
  };
  const limits = { checkTimeoutMs: Number.POSITIVE_INFINITY, startTimeoutMs: 60_000, stopTimeoutMs: 1_000 };
  return { hangs, changes: { ...limits, isHealthy } };
}
