import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { CrashLoopError, EarlyExitError, type Instance, ProcessManager } from '../../src/index.js';
import { callElsewhere } from '../helpers/one-call.js';
import { assertNothingLeft } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { freePort, rounds } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';

/** How many times as long as a bare spawn in the same minute it may take from the kill until another server answers. */
const TIMES_BARE_SPAWN = 10;

/** A child of another process is looked at every 125 ms, and here the kill comes right after a check. */
const SEEN_WITHIN_MS = 150;

test('a server that is killed comes back each time, within ten times the duration of a bare spawn', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const bare = [await bareSpawnMs(t), await bareSpawnMs(t), await bareSpawnMs(t)];
  const supervisor = await supervision.here(manager, { giveUpAfter: { withinMs: 300 } });
  const times: number[] = [];
  for (let round = 0; round < rounds(20, { least: 5 }); round += 1) {
    // This is longer than the window, so there is neither a crash loop nor a delay.
    await delay(400);
    const pid = await redisPid(spec.port);
    const began = performance.now();
    process.kill(pid, 'SIGKILL');
    await answers(spec.port, pid);
    times.push(performance.now() - began);
    bare.push(await bareSpawnMs(t));
  }
  const [back, spawned] = [median(times), median(bare)];
  t.diagnostic(
    `back after ${back.toFixed(1)} ms (at most ${Math.max(...times).toFixed()}), bare ${spawned.toFixed(1)}`,
  );
  assert.ok(back < TIMES_BARE_SPAWN * spawned, `${back} ms, bare ${spawned} ms`);
  await eventually('every restart is counted', () => supervisor.restarts === times.length);
  assert.equal(supervisor.state, 'watching');
});

test('the end of our own child is noticed at once, also when start() or restart() has spawned it', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await supervision.here(manager, NEVER_GIVE_UP);
  const times: number[] = [];
  for (let round = 0; round < 9; round += 1) {
    if (round % 3 === 2) await manager.restart();
    times.push(await seenAfterMs(manager, spec.port));
  }
  // Looks every 125 ms would take 60 ms on average.
  assert.ok(median(times) < 25, `seen after ${times}`);
});

test("the end of another process's child is noticed by the regular checks", async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const { pid } = await callElsewhere<Instance>(t, 'start', spec);
    const supervisor = await supervision.here(manager, NEVER_GIVE_UP);
    const restarting = once(manager, 'restarting');
    const began = performance.now();
    process.kill(pid, 'SIGKILL');
    await restarting;
    times.push(performance.now() - began);
    await answers(spec.port, pid);
    await supervisor.stop();
    assert.deepEqual([supervisor.state, supervisor.restarts], ['stopped', 1]);
    await manager.stop();
  }
  assert.ok(Math.min(...times) <= SEEN_WITHIN_MS, `seen after ${times}`);
});

test('failed starts count as crashes: a first restart at once, further ones with growing delays, and then CrashLoopError', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { 'exit-after': 0, 'exit-code': 3, print: 'no luck', 'listen-after': 60_000 });
  const manager = new ProcessManager(spec);
  const restarting: { attempt: number; delayMs: number }[] = [];
  const spawned: number[] = [];
  const gaveUp: Error[] = [];
  manager.on('restarting', (detail) => restarting.push(detail));
  manager.on('spawned', ({ pid }) => spawned.push(pid));
  manager.on('gaveUp', (error) => gaveUp.push(error));
  const began = performance.now();
  const backoff = { initialMs: 40, factor: 2, maxMs: 100 };
  const supervisor = supervision.add(manager.supervise({ backoff, giveUpAfter: { restarts: 4, withinMs: 60_000 } }));
  const error = await supervisor.done.then(
    () => assert.fail('it did not give up'),
    (reason: unknown) => reason,
  );
  assert.ok(performance.now() - began < 60_000);
  assert.ok(error instanceof CrashLoopError);
  assert.deepEqual(
    [error.code, error.restarts, error.lastError instanceof EarlyExitError],
    ['ERR_CRASH_LOOP', 4, true],
  );
  assert.ok(error.logTail.includes('no luck'));
  assert.match(error.message, /Gave up on node-server: it went down again after 4 restarts .* exit code 3/);
  assert.deepEqual(gaveUp, [error]);
  assert.deepEqual([supervisor.state, supervisor.restarts, spawned.length], ['gave-up', 0, 5]);
  assert.deepEqual(
    restarting.map(({ attempt }) => attempt),
    [1, 2, 3, 4],
  );
  for (const [index, most] of [0, 40, 80, 100].entries()) {
    const delayMs = restarting[index]?.delayMs ?? -1;
    assert.ok(delayMs <= most && delayMs >= most * 0.8, `${index}: ${delayMs}`);
  }
  assertNothingLeft(spec);
  const works = new ProcessManager({ ...spec, args: (await nodeSpec(t, {}, { port: spec.port })).args ?? [] });
  assert.equal((await works.start()).reused, false);
  assert.equal(supervisor.state, 'gave-up', 'it has ended for good');
});

test('a supervisor gives up on a server that becomes ready and crashes again and again, and the server can be started then', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  manager.on('ready', ({ pid }) => process.kill(pid, 'SIGKILL'));
  const supervisor = supervision.add(manager.supervise({ backoff: { initialMs: 1 } }));
  await assert.rejects(supervisor.done, (error) => {
    assert.ok(error instanceof CrashLoopError);
    assert.deepEqual([error.restarts, supervisor.restarts, error.lastError], [5, 5, undefined]);
    assert.ok(error.logTail.length > 0);
    return true;
  });
  assertNothingLeft({ ...spec, pidFile: `${spec.stateDir}/none.pid` });
  const other = new ProcessManager(spec);
  assert.equal((await other.start()).reused, false);
  assert.equal((await other.status()).state, 'running');
  // A new supervisor can start it, too.
  manager.removeAllListeners('ready');
  assert.equal((await supervision.here(manager)).state, 'watching');
});

async function seenAfterMs(manager: ProcessManager, port: number): Promise<number> {
  const pid = await redisPid(port);
  const [exited, restarting] = [once(manager, 'exit'), once(manager, 'restarting')];
  process.kill(pid, 'SIGKILL');
  await exited;
  const began = performance.now();
  await restarting;
  const ms = performance.now() - began;
  await answers(port, pid);
  await manager.start();
  return ms;
}

/** Waits until a redis-server with another PID answers. */
async function answers(port: number, otherThan: number): Promise<void> {
  const look = async () => (await redisPid(port).catch(() => otherThan)) !== otherThan;
  await eventually('another server answers', look, { everyMs: 1 });
}

async function bareSpawnMs(t: TestContext): Promise<number> {
  const port = await freePort();
  const began = performance.now();
  const program = startProgram(t, 'redis-server', ['--port', String(port), '--save', '']);
  await answers(port, 0);
  const ms = performance.now() - began;
  program.kill();
  await program.ended();
  return ms;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
}
