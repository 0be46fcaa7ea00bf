import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, isLocked, ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { isRunning } from '../helpers/outside-view.js';
import { redisPid } from '../helpers/redis.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';
import { witnessedServer } from '../helpers/witness.js';

/**
 * The time within which a user can count on a takeover. The fastest of a few rounds counts, since the test machines are
 * shared.
 */
const TAKEOVER_MS = 1_000;

test('when the first supervisor is killed together with the server, the second has taken over within a second', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  let first = await supervision.elsewhere(spec);
  const times: number[] = [];
  for (let round = 0; round < rounds(10, { least: 3 }); round += 1) {
    const second = await supervision.elsewhere(spec);
    const pid = await redisPid(spec.port);
    const began = performance.now();
    first.kill();
    process.kill(pid, 'SIGKILL');
    await eventually('another server answers', async () => (await redisPid(spec.port).catch(() => pid)) !== pid);
    times.push(performance.now() - began);
    // An exiting process can still be there after its lock is free.
    await eventually('the killed server has ended', () => !isRunning(pid));
    // The new server can answer before the second supervisor has reported it.
    await eventually('the second supervisor has spawned the server', () => second.all('spawned').length === 1);
    first = second;
  }
  t.diagnostic(`taken over within ${times.map((ms) => ms.toFixed()).join(', ')} ms`);
  assert.ok(Math.min(...times) < TAKEOVER_MS);
});

test('when only the first supervisor is killed the server keeps running, and the second one restarts it after a crash', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const first = await supervision.elsewhere(spec);
  const second = await supervision.elsewhere(spec);
  const pid = await redisPid(spec.port);
  assert.deepEqual([first.all('spawned').length, second.all('spawned').length], [1, 0]);
  first.kill();
  await first.program.ended();
  await delay(STILL_MS);
  assert.equal(await redisPid(spec.port), pid);
  assert.deepEqual([second.state, second.all('restarting').length], ['watching', 0]);
  process.kill(pid, 'SIGKILL');
  await eventually('another server answers', async () => (await redisPid(spec.port).catch(() => pid)) !== pid);
  await eventually('the second supervisor reports the server as ready', () => second.all('ready').length === 1);
});

test('two supervisors that see the same crashes never make two servers, and both end up watching', async (t) => {
  const supervision = new Supervision(t);
  const server = await witnessedServer(t);
  const both = [await supervision.elsewhere(server.spec, NEVER_GIVE_UP)];
  both.push(await supervision.elsewhere(server.spec, NEVER_GIVE_UP));
  const outside = new ProcessManager(server.spec);
  const count = rounds(50, { least: 5 });
  for (let round = 0; round < count; round += 1) {
    // The server is a child of neither supervisor: both notice its end by checking the lock.
    const { pid } = await outside.restart();
    for (const supervisor of both) await reaches(supervisor, 'watching');
    process.kill(pid, 'SIGKILL');
    await eventually('another server is the only one that runs', () => {
      const [only, ...others] = server.alive();
      return only !== undefined && only !== pid && others.length === 0;
    });
  }
  for (const supervisor of both) await reaches(supervisor, 'watching');
  server.assertNeverTwo();
  const spawned = () => both.map((supervisor) => supervisor.all('spawned').length);
  await eventually(
    'one server was spawned at first, and one after each crash',
    () => spawned().reduce((sum, each) => sum + each) > count,
  );
  t.diagnostic(`servers made: ${spawned().join(' and ')}`);
  // A restart by the other supervisor is no restart of this one, and does not count for its crash loop.
  for (const { detail, restarts } of both.flatMap((supervisor) => supervisor.all('restarting'))) {
    const { attempt } = detail as { attempt: number };
    assert.ok(attempt <= restarts + 1, `attempt ${attempt} after ${restarts} restarts`);
  }
});

test('two supervisors replace the survivors of a crashed server only once', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { child: 'session' });
  const options = { checkIntervalMs: 10, ...NEVER_GIVE_UP };
  const both = [await supervision.elsewhere(spec, options), await supervision.elsewhere(spec, options)];
  const made = () =>
    both.flatMap((supervisor) => supervisor.all('ready').map(({ detail }) => (detail as Instance).pid));
  const killed: number[] = [];
  for (let round = 1; round <= 3; round += 1) {
    // Either of the two supervisors can have started the latest server.
    const pid = Number(made().find((each) => !killed.includes(each)));
    process.kill(pid, 'SIGKILL');
    killed.push(pid);
    await eventually('a new server is ready', () => made().length > round);
    for (const supervisor of both) await reaches(supervisor, 'watching');
    await delay(STILL_MS);
    assert.equal(made().length, round + 1);
  }
});

test('one stop puts both supervisors on standby, and one start makes both watch again', async (t) => {
  const supervision = new Supervision(t);
  const server = await witnessedServer(t);
  const [first, second] = [await supervision.elsewhere(server.spec), await supervision.elsewhere(server.spec)];
  const outside = new ProcessManager(server.spec);
  for (let round = 0; round < 2; round += 1) {
    await outside.stop();
    for (const supervisor of [first, second]) await reaches(supervisor, 'standby');
    await server.assertNothingThere();
    await outside.start();
    for (const supervisor of [first, second]) await reaches(supervisor, 'watching');
  }
  server.assertNeverTwo();
});

/** This is longer than any test takes. */
const LONG_MS = 600_000;

/** This is long enough for two supervisors without a backoff to find the server unhealthy and to restart it. */
const WATCH_MS = 1_500;

test('two supervisors of a server that becomes unhealthy again and again keep the backoff', async (t) => {
  const supervision = new Supervision(t);
  // The server is healthy for the manager that starts it, and unhealthy for all others.
  const spec = sleepSpec(t, { startTimeoutMs: 500, isHealthy: ({ reused }) => !reused });
  const managers = [1, 2].map(() => new ProcessManager(spec));
  const spawned: number[] = [];
  const delays = managers.map((manager) => {
    const own: number[] = [];
    manager.on('spawned', ({ pid }) => spawned.push(pid));
    manager.on('restarting', ({ delayMs }) => own.push(delayMs));
    return own;
  });
  const supervisors = managers.map((manager) =>
    supervision.add(
      manager.supervise({
        checkIntervalMs: 20,
        unhealthyAfter: 2,
        backoff: { initialMs: LONG_MS, maxMs: LONG_MS },
        giveUpAfter: { restarts: 50, withinMs: LONG_MS },
      }),
    ),
  );
  await eventually(
    'both supervisors are waiting for the next start',
    () => supervisors.every(({ state }) => state === 'restarting') && delays.every((own) => (own.at(-1) ?? 0) > 0),
    { withinMs: 30_000 },
  );
  const count = spawned.length;
  // Four are allowed: the first start of each supervisor, whether it spawns or joins, and one immediate restart by each.
  assert.ok(count <= 4, `${count} processes, delays ${delays}`);
  await delay(WATCH_MS);
  assert.deepEqual([spawned.length, isLocked(managers[0]?.spec.lockFile ?? '')], [count, false]);
  assert.deepEqual(spawned.filter(isRunningProcess), []);
});
