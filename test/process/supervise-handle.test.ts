import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager } from '../../src/index.js';
import { thriceUnless } from '../helpers/cost.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { assertNothingLeft, isRunning, processesIn } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

const FAILS = { 'exit-after': 0, 'exit-code': 1, 'listen-after': 60_000 };

test('a second supervise() throws while the first supervisor goes on, and not after it has ended', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await redisSpec(t));
  const first = supervision.add(manager.supervise());
  assert.throws(() => manager.supervise(), { name: 'Error', message: /redis is supervised by this manager already/ });
  await first.stop();
  const second = await supervision.here(manager);
  assert.throws(() => manager.supervise(), { name: 'Error' });
  assert.deepEqual([first.state, second.state], ['stopped', 'watching']);
});

test('`await using` ends the supervisor, and the process runs on', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  let outside: ReturnType<ProcessManager['supervise']>;
  {
    await using supervisor = manager.supervise();
    await reaches(supervisor, 'watching');
    outside = supervisor;
  }
  assert.equal(outside.state, 'stopped');
  assert.equal((await manager.status()).state, 'running');
});

test('`done` fulfils when the supervisor is stopped', async (t) => {
  const supervision = new Supervision(t);
  const supervisor = await supervision.here(new ProcessManager(await redisSpec(t)));
  let isDone = false;
  void supervisor.done.then(() => {
    isDone = true;
  });
  await delay(STILL_MS);
  assert.equal(isDone, false);
  await supervisor.stop();
  assert.equal(await supervisor.done, undefined);
  assert.equal(isDone, true);
});

test('a `done` that nobody awaits causes no unhandled rejection, and a supervisor that gave up keeps no program alive', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, FAILS);
  const supervisor = supervision.launch(spec, { giveUpAfter: { restarts: 1 } });
  const { exitCode, stderr } = await supervisor.program.ended();
  assert.deepEqual([exitCode, stderr], [0, '']);
  assert.equal(supervisor.all('gaveUp').length, 1);
  assertNothingLeft(spec);
});

test('a supervisor keeps its program alive, and one that has ended does not', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const supervisor = await supervision.elsewhere(spec);
  await delay(STILL_MS);
  assert.equal(supervisor.program.isAlive, true);
  await manager.stop();
  await reaches(supervisor, 'standby');
  await delay(STILL_MS);
  assert.equal(supervisor.program.isAlive, true, 'on standby too');
  const { pid } = await manager.start();
  supervisor.end();
  const { exitCode, stderr } = await supervisor.program.ended();
  assert.deepEqual([exitCode, stderr, isRunning(pid)], [0, '', true]);
});

test('listeners that throw do not keep a supervisor from restarting and giving up, and their errors surface', async (t) => {
  const spec = await nodeSpec(t, FAILS);
  const { stdout, exitCode } = await startFixture(t, 'throwing-listeners', [JSON.stringify(spec), 'supervise'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  }).ended();
  const lines = stdout.trimEnd().split('\n').sort();
  assert.equal(exitCode, 0);
  assert.deepEqual(lines, [
    'done: CrashLoopError',
    'state: gave-up',
    'surfaced: listener of exit',
    'surfaced: listener of exit',
    'surfaced: listener of gaveUp',
    'surfaced: listener of restarting',
    'surfaced: listener of spawned',
    'surfaced: listener of spawned',
  ]);
});

test('fifty supervised processes cost their program little CPU time, and open no further descriptors', async (t) => {
  const supervision = new Supervision(t);
  const managers = Array.from({ length: 50 }, () => new ProcessManager(sleepSpec(t, { stopTimeoutMs: 60_000 })));
  const supervisors = await Promise.all(
    managers.map((manager) => supervision.here(manager, { checkIntervalMs: 500, giveUpAfter: { restarts: 0 } })),
  );
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const counts: number[] = [];
  const share = await thriceUnless({ below: 0.3 }, async () => {
    const usage = process.cpuUsage();
    const began = performance.now();
    while (performance.now() - began < 1_000) {
      await delay(100);
      counts.push(descriptors());
    }
    const { user, system } = process.cpuUsage(usage);
    return (user + system) / 1_000 / (performance.now() - began);
  });
  t.diagnostic(`${(share * 100).toFixed(1)} % of a core, ${before} descriptors`);
  assert.ok(Math.max(...counts) <= before, `${before} descriptors, then ${counts}`);
  assert.ok(share < 0.3, `${share} of a core`);
  assert.ok(supervisors.every(({ state }) => state === 'watching'));
  await Promise.all(managers.map((manager) => manager.stop()));
  assert.ok(managers.every(({ spec }) => processesIn(spec.stateDir).length === 0));
});

test('a stop() with an aborted signal does not end the supervisor of the manager', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(sleepSpec(t));
  const supervisor = await supervision.here(manager, { checkIntervalMs: 50, ...NEVER_GIVE_UP });
  const pid = (await manager.status()).pid ?? 0;
  await assert.rejects(manager.stop({ signal: AbortSignal.abort(new Error('not now')) }), { message: 'not now' });
  assert.deepEqual([supervisor.state, isRunningProcess(pid)], ['watching', true]);
  process.kill(pid, 'SIGKILL');
  await eventually('the restart is counted', () => supervisor.restarts === 1);
  await reaches(supervisor, 'watching');
});

test('the first start is no restart, also with respectStop', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await redisSpec(t));
  const supervisor = await supervision.here(manager, { respectStop: true });
  assert.deepEqual([supervisor.restarts, (await manager.status()).restarts], [0, 0]);
  const { pid = 0 } = await manager.status();
  assert.ok(pid > 1);
  process.kill(pid, 'SIGKILL');
  await eventually('the restart is counted', () => supervisor.restarts === 1);
  assert.equal((await manager.status()).restarts, 1);
});
