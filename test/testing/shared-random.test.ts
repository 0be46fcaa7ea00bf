/** Users that come, go and are killed at random: never a dead server under one, never a live one without any. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startShared } from '../../src/index.js';
import type { Visit } from '../fixtures/random-user.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { nothingIsLeft, ownKey, redisPreset, sharedFolder } from '../helpers/shared.js';
import { eventually } from '../helpers/waiting.js';

const KILL_EVERY_MS = 300;

/** Ten times what the issue allows. */
const GONE_WITHIN_MS = 10_000;

test('four users come and go at random while others are killed: nobody ever meets a dead server, and none stays', async (t) => {
  const random = seededRandom(t);
  const key = ownKey();
  const visits: Visit[] = [];
  const start = () => {
    const program = startFixture(t, 'random-user', [key, String(random.fork())]);
    program.child.on('message', (visit: Visit) => visits.push(visit));
    return program;
  };
  const lasting = [start(), start(), start(), start()];
  const doomed: Program[] = [start()];
  const duration = rounds(60) * 1_000;
  const joins = rounds(1_000);
  const begin = performance.now();
  // However slow the machine is, as many joins and kills; however quick it is, as long.
  while (performance.now() - begin < duration || visits.length < joins || doomed.length <= rounds(60)) {
    assert.ok(performance.now() - begin < 6 * duration + 60_000, `only ${visits.length} visits`);
    assert.deepEqual(
      visits.flatMap(({ defects }) => defects),
      [],
    );
    doomed.push(start());
    await delay(random.between(0.5, 1.5) * KILL_EVERY_MS);
    doomed.at(-2)?.kill();
  }
  doomed.at(-1)?.kill();
  for (const user of lasting) user.send('end');
  for (const user of lasting) assert.equal((await user.ended()).exitCode, 0, user.stderr);
  for (const user of doomed) await user.ended();
  const goneMs = await nothingIsLeft(key);
  assert.deepEqual(
    visits.flatMap(({ defects }) => defects),
    [],
  );
  const starts = visits.filter(({ reused }) => !reused).length;
  const looks = visits.reduce((sum, visit) => sum + visit.looks, 0);
  t.diagnostic(
    `${visits.length} visits with ${looks} looks, ${starts} of them started it, ${doomed.length} users killed; the last process gone after ${Math.round(goneMs)} ms`,
  );
  assert.ok(goneMs < GONE_WITHIN_MS);
  assert.ok(starts < visits.length && doomed.length > rounds(60));
  await leavesNoFolder(key);
});

test('of five users four are killed one after another: the fifth keeps its server until it is killed', async (t) => {
  const key = ownKey();
  const users: Program[] = [];
  for (let count = 1; count <= 5; count += 1) users.push(startFixture(t, 'shared-user', [JSON.stringify({ key })]));
  const pids = await Promise.all(
    users.map(async (user) => {
      await user.message();
      user.send({ id: 1, call: 'join' });
      return (await user.message<{ joined: { pid: number } }>()).joined.pid;
    }),
  );
  const [pid = 0] = pids;
  assert.deepEqual(new Set(pids), new Set([pid]));
  const watching = await startShared(redisPreset, { key });
  assert.equal((await watching.manager.status()).users, 6);
  await watching.leave();
  for (const [index, user] of users.entries()) {
    user.kill();
    await user.exited;
    const { manager } = watching;
    await eventually('one user less', async () => (await manager.status()).users === 4 - index);
    if (index < 4) assert.equal((await manager.status()).state, 'running');
  }
  await nothingIsLeft(key);
  await leavesNoFolder(key);
});

/** A killed last user leaves the folder to the next one. */
async function leavesNoFolder(key: string): Promise<void> {
  await (await startShared(redisPreset, { key })).leave();
  assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
}
