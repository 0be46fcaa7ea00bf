/** When a supervisor gives up, and after which exits it does not restart. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, rmdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CrashLoopError, type Instance, ProcessManager, type SuperviseOptions } from '../../src/index.js';
import { callElsewhere } from '../helpers/one-call.js';
import { assertNothingLeft } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually, MUST_HAPPEN_MS, STILL_MS } from '../helpers/waiting.js';

/** By default this number of restarts within a minute is no crash loop. */
const DEFAULT_RESTARTS = 5;

const AT_ONCE = { initialMs: 0 };

/** AGES_MS is longer than any process lives here, and SHORT_MS is shorter. */
const AGES_MS = 600_000;
const SHORT_MS = 200;

async function gaveUp(supervisor: { done: Promise<void> }): Promise<CrashLoopError> {
  const error = await supervisor.done.then(
    () => assert.fail('it did not give up'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CrashLoopError, String(error));
  return error;
}

test('with giveUpAfter: false a supervisor never gives up, neither on crashes nor on failed starts', async (t) => {
  const supervision = new Supervision(t);
  const crashing = new ProcessManager(await redisSpec(t));
  crashing.on('ready', ({ pid }) => process.kill(pid, 'SIGKILL'));
  const failing = new ProcessManager(await nodeSpec(t, { 'exit-after': 0, 'exit-code': 3, 'listen-after': AGES_MS }));
  const options: SuperviseOptions = { giveUpAfter: false, backoff: AT_ONCE };
  const first = supervision.add(crashing.supervise(options));
  const second = supervision.add(failing.supervise(options));
  let failed = 0;
  failing.on('restarting', () => {
    failed += 1;
  });
  const isOverDefault = () => first.restarts > DEFAULT_RESTARTS + 1 && failed > DEFAULT_RESTARTS + 1;
  // Each start searches all processes for survivors, which takes a second on a busy machine with many processes.
  await eventually('both supervisors have exceeded the default limit of restarts', isOverDefault, {
    withinMs: 4 * MUST_HAPPEN_MS,
  });
  assert.ok([first, second].every(({ state }) => state === 'watching' || state === 'restarting'));
  crashing.removeAllListeners('ready');
  await crashing.stop();
});

test('a process that lived shorter than diedWithinMs is not started again, whether it was ready or not', async (t) => {
  const supervision = new Supervision(t);
  const options = { backoff: AT_ONCE, giveUpAfter: { diedWithinMs: AGES_MS } };
  const spawned: number[] = [];
  const early = await nodeSpec(t, { 'exit-after': 0, 'exit-code': 3, print: 'no luck', 'listen-after': AGES_MS });
  const failing = new ProcessManager(early);
  failing.on('spawned', ({ pid }) => spawned.push(pid));
  const error = await gaveUp(supervision.add(failing.supervise(options)));
  assert.match(
    error.message,
    /^Gave up on node-server: it lived for less than 600000 ms, see ".*node-server\.log"; the last start: .*exit code 3/,
  );
  assert.deepEqual([error.restarts, spawned.length], [0, 1]);
  assert.ok(error.logTail.includes('no luck'));
  assertNothingLeft(early);
  const ready = new ProcessManager(await redisSpec(t));
  const supervisor = await supervision.here(ready, options);
  process.kill((await ready.start()).pid, 'SIGKILL');
  const { message } = await gaveUp(supervisor);
  assert.match(
    message,
    /^Gave up on redis: it lived for less than 600000 ms, .*; the last one \(PID \d+\) ended by SIGKILL$/,
  );
  assert.deepEqual([supervisor.state, supervisor.restarts], ['gave-up', 0]);
});

test('a process that lived longer than diedWithinMs is started again, also when another process had started it', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await callElsewhere<Instance>(t, 'start', spec);
  const supervisor = await supervision.here(manager, { giveUpAfter: { restarts: 100, diedWithinMs: SHORT_MS } });
  for (let round = 1; round <= 2; round += 1) {
    const { pid = 0 } = await eventually('the process is old enough', async () => {
      const status = await manager.status();
      return (status.uptimeMs ?? 0) > 2 * SHORT_MS ? status : undefined;
    });
    assert.ok(pid > 1);
    process.kill(pid, 'SIGKILL');
    await eventually('the process is up again', () => supervisor.restarts === round);
  }
});

test('a start that spawned nothing does not count as a process that died within diedWithinMs', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const missing = new ProcessManager({ ...spec, command: 'no-such-command' });
  const giveUpAfter = { restarts: 2, diedWithinMs: AGES_MS };
  const error = await gaveUp(supervision.add(missing.supervise({ backoff: AT_ONCE, giveUpAfter })));
  assert.match(error.message, /it went down again after 2 restarts within 60000 ms, .*"no-such-command" not found/);
});

const ON_FAILURE = { restartOn: 'failure', checkIntervalMs: 20, ...NEVER_GIVE_UP } satisfies SuperviseOptions;

for (const where of ['here', 'by another process, which lives'] as const) {
  test(`restartOn 'failure': exit code 0 of a process started ${where} is no crash, and a start() wakes the supervisor`, async (t) => {
    const supervision = new Supervision(t);
    const spec = await nodeSpec(t, { 'exit-on': 'SIGUSR2' });
    const manager = new ProcessManager(spec);
    const starter = where === 'here' ? manager : await startRemoteManager(t, spec);
    let restarting = 0;
    manager.on('restarting', () => {
      restarting += 1;
    });
    await starter.start();
    const supervisor = await supervision.here(manager, ON_FAILURE);
    for (let round = 0; round < 5; round += 1) {
      const { pid } = await starter.start();
      await reaches(supervisor, 'watching');
      process.kill(pid, 'SIGUSR2');
      await reaches(supervisor, 'standby');
      await delay(STILL_MS);
      assert.deepEqual([supervisor.state, (await manager.status()).state, restarting], ['standby', 'stopped', 0]);
    }
    const { pid } = await manager.start();
    await reaches(supervisor, 'watching');
    process.kill(pid, 'SIGKILL');
    await eventually('the process is up again', () => supervisor.restarts === 1);
  });
}

test("restartOn 'failure': any other exit code is a crash", async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await nodeSpec(t, { 'exit-on': 'SIGUSR2', 'exit-code': 3 }));
  const supervisor = await supervision.here(manager, ON_FAILURE);
  for (let round = 1; round <= 3; round += 1) {
    process.kill((await manager.start()).pid, 'SIGUSR2');
    await eventually('the process is up again', () => supervisor.restarts === round);
  }
});

test("restartOn 'failure': an exit with code 0 before ready is no crash, and a new supervise() starts the process again", async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { 'exit-after': 0, 'listen-after': AGES_MS });
  for (let round = 1; round <= 2; round += 1) {
    const manager = new ProcessManager(spec);
    const spawned: number[] = [];
    manager.on('spawned', ({ pid }) => spawned.push(pid));
    const supervisor = supervision.add(manager.supervise(ON_FAILURE));
    await reaches(supervisor, 'standby');
    await delay(STILL_MS);
    assert.deepEqual([supervisor.state, spawned.length], ['standby', 1], `round ${round}`);
    await supervisor.stop();
  }
});

test("restartOn 'failure': a process whose starter is gone is started again, since its exit code is not known", async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { 'exit-on': 'SIGUSR2' });
  const { pid } = await callElsewhere<Instance>(t, 'start', spec);
  const supervisor = await supervision.here(new ProcessManager(spec), ON_FAILURE);
  process.kill(pid, 'SIGUSR2');
  await eventually('the process is up again', () => supervisor.restarts === 1);
});

test("restartOn 'failure': a process that a restart() or a supervisor ends has not ended by itself, and is started again", async (t) => {
  const supervision = new Supervision(t);
  const behaviour = { 'on-term': 0, 'pause-on': 'SIGUSR2' };
  const manager = new ProcessManager(await nodeSpec(t, behaviour, { startTimeoutMs: AGES_MS }));
  const supervisor = await supervision.here(manager, { ...ON_FAILURE, unhealthyAfter: 1 });
  const exits: (number | null)[] = [];
  manager.on('exit', ({ exitCode }) => exits.push(exitCode));
  const { pid } = await manager.restart();
  await reaches(supervisor, 'watching');
  assert.ok(exits.length > 0 && exits.every((exitCode) => exitCode === 0), String(exits));
  exits.length = 0;
  // The supervisor can start the process before the restart does.
  const before = supervisor.restarts;
  const ready = once(manager, 'ready');
  process.kill(pid, 'SIGUSR2');
  assert.notEqual((await ready)[0].pid, pid);
  assert.deepEqual([exits, supervisor.restarts], [[0], before + 1]);
});

/** This is longer than any test takes. */
const LONG_MS = 600_000;

test('a folder in the place of the lock file ends supervision with CrashLoopError', async (t) => {
  const supervision = new Supervision(t);
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const { lockFile } = manager.spec;
  mkdirSync(lockFile, { recursive: true });
  const told: string[] = [];
  manager.on('gaveUp', ({ code }) => told.push(code));
  const supervisor = supervision.add(
    manager.supervise({ backoff: { initialMs: 10 }, giveUpAfter: { restarts: 3, withinMs: LONG_MS } }),
  );
  const end = await supervisor.done.then(
    () => assert.fail('supervision ended without an error'),
    (error: Error & { lastError?: Error }) => error,
  );
  assert.equal(end.name, 'CrashLoopError');
  assert.match(String(end.lastError?.message), new RegExp(lockFile));
  assert.deepEqual([told, supervisor.state], [['ERR_CRASH_LOOP'], 'gave-up']);
  rmdirSync(lockFile);
});
