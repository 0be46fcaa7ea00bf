import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager } from '../../src/index.js';
import { isRunning } from '../helpers/outside-view.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';
import { type Witness, witnessedServer } from '../helpers/witness.js';

test('after a stop and a start from outside, however close, the supervisor elsewhere watches again', async (t) => {
  const random = seededRandom(t);
  const supervision = new Supervision(t);
  const server = await witnessedServer(t);
  const outside = new ProcessManager(server.spec);
  const supervisor = await supervision.elsewhere(server.spec, NEVER_GIVE_UP);
  const count = rounds(50);
  for (let round = 1; round <= count; round += 1) {
    await outside.stop();
    await delay(random.between(0, 200));
    const { pid } = await outside.start();
    await reaches(supervisor, 'watching');
    if (round % 4 !== 0 && round !== count) continue;
    process.kill(pid, 'SIGKILL');
    await comesBack(server, pid);
  }
  server.assertNeverTwo();
});

test('twenty restarts from outside are no crash loop', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const outside = new ProcessManager(spec);
  const supervisor = await supervision.elsewhere(spec);
  const began = performance.now();
  let pid = 0;
  // This is more than five, the limit of a crash loop.
  const count = rounds(20, { least: 7 });
  for (let round = 0; round < count; round += 1) ({ pid } = await outside.restart());
  t.diagnostic(`${count} restarts in ${(performance.now() - began).toFixed()} ms`);
  await reaches(supervisor, 'watching');
  assert.equal((await outside.status()).pid, pid);
  const before = supervisor.all('restarting').length;
  process.kill(pid, 'SIGKILL');
  const crash = await eventually(
    'the supervisor is restarting the process',
    () => supervisor.all('restarting')[before],
  );
  assert.deepEqual(crash.detail, { attempt: 1, delayMs: 0 }, 'the restarts do not count as crashes');
  await eventually('the process is up again', () => outside.isRunning());
  assert.deepEqual(supervisor.all('gaveUp'), []);
});

test("a restart() of the supervisor's own manager is no crash, and the supervisor goes on", async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await redisSpec(t));
  const supervisor = await supervision.here(manager, { giveUpAfter: { restarts: 0 } });
  for (const _ of [1, 2, 3]) await manager.restart();
  await reaches(supervisor, 'watching');
  const { pid } = await manager.status();
  process.kill(pid as number, 'SIGKILL');
  await assert.rejects(supervisor.done, { name: 'CrashLoopError' });
});

test('a server comes back when the restart that stopped it is killed before it starts the server again', async (t) => {
  const supervision = new Supervision(t);
  const server = await witnessedServer(t);
  const supervisor = await supervision.elsewhere(server.spec);
  const restarters = restartersOf(t, server, () => 'between');
  for (let round = 0; round < rounds(50); round += 1) {
    const [pid = 0] = server.alive();
    const restarter = await restarters.next();
    restarter.send({ go: true });
    assert.equal((await restarter.ended()).signal, 'SIGKILL', restarter.stderr);
    assert.equal(isRunning(pid), false);
    await comesBack(server, pid);
  }
  await reaches(supervisor, 'watching');
  server.assertNeverTwo();
});

test('a server comes back when a restart is killed at a random instant', async (t) => {
  const random = seededRandom(t);
  const supervision = new Supervision(t);
  const server = await witnessedServer(t, { dieAfterMs: 30 });
  const outside = new ProcessManager(server.spec);
  await supervision.elsewhere(server.spec, NEVER_GIVE_UP);
  const restarters = restartersOf(t, server, () => String(Math.round(random.between(0, 120))));
  for (let round = 0; round < rounds(30); round += 1) {
    const restarter = await restarters.next();
    restarter.send({ go: true });
    await restarter.ended();
    await eventually('the process runs', async () => (await outside.status()).state === 'running');
    assert.equal(server.alive().length, 1);
  }
  server.assertNeverTwo();
});

/** Launches each restarter before it is needed, since Node takes time to start. */
function restartersOf(t: Parameters<typeof startFixture>[0], { spec }: Witness, when: () => string) {
  const launch = () => startFixture(t, 'restarter', [JSON.stringify(spec), when()]);
  let following = launch();
  return {
    next: async (): Promise<Program> => {
      const restarter = following;
      following = launch();
      return restarter;
    },
  };
}

async function comesBack(server: Witness, pid: number): Promise<void> {
  await eventually('another server runs', () => server.alive().some((other) => other !== pid));
  const manager = new ProcessManager(server.spec);
  await eventually('the process is ready', () => manager.isRunning());
}
