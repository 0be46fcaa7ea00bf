/**
 * The last user leaves or is killed, and others leave at the same time or join afterwards. The campaign attacks the
 * moment in between.
 */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isLocked, startShared } from '../../src/index.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { rounds } from '../helpers/resources.js';
import {
  lockFileOf,
  nothingIsLeft,
  ownKey,
  processesOf,
  redisPreset,
  sharedFolder,
  startUser,
  startUsers,
} from '../helpers/shared.js';
import { temporalBinary } from '../helpers/temporal.js';
import { eventually } from '../helpers/waiting.js';
import { accepts } from '../helpers/witness.js';

/** Ten times the time that it may take on an idle machine: other work may have the processors. */
const GONE_WITHIN_MS = 10_000;

test('when the last user is killed, server and watcher end, the port is free, and the next call starts a new server', async (t) => {
  const key = ownKey();
  const ends: number[] = [];
  for (let round = 1; round <= rounds(20); round += 1) {
    const user = await startUser(t, { key });
    const { pid, port, reused } = await user.join();
    assert.equal(reused, false);
    assert.equal(await redisPid(port), pid);
    // These are the server, the watcher, its flock, and the user.
    await eventually('four processes run', () => processesOf(key).length === 4);
    user.kill();
    await user.program.exited;
    ends.push(await nothingIsLeft(key));
    await portIsFree(port);
  }
  t.diagnostic(`${ends.length} users killed, the last process gone after ${worst(ends)} ms`);
  assert.ok(worst(ends) < GONE_WITHIN_MS);
  const instance = await startShared(redisPreset, { key });
  assert.equal(instance.reused, false);
  assert.equal(await redisPid(instance.port), instance.pid);
  await instance.leave();
  assert.equal(existsSync(instance.stateDir), false);
});

test('when the last user of a Temporal is killed, it ends, and the next call starts a new one', async (t) => {
  const key = ownKey();
  const options = { preset: 'temporal', key, command: temporalBinary() } as const;
  const [first, second, heir] = await startUsers(t, 3, options);
  const { pid, port } = await first.join();
  assert.equal((await second.join()).pid, pid);
  first.kill();
  await first.program.exited;
  assert.equal((await second.join()).pid, pid);
  second.kill();
  await second.program.exited;
  t.diagnostic(`gone after ${Math.round(await nothingIsLeft(key))} ms`);
  await portIsFree(port);
  const again = await heir?.join();
  assert.notEqual(again?.pid, pid);
  await heir?.leave();
  await nothingIsLeft(key);
  assert.deepEqual(processesOf(key), []);
});

test('when four users leave at the same instant, server and folder are gone', async (t) => {
  const key = ownKey();
  const users = await startUsers(t, 4, { key });
  for (let round = 1; round <= rounds(100); round += 1) {
    const joined = await Promise.all(users.map((user) => user.join()));
    const [{ pid, port, stateDir }] = joined as [(typeof joined)[number]];
    assert.deepEqual(
      joined.map((one) => one.pid),
      [pid, pid, pid, pid],
    );
    assert.equal(joined.filter(({ reused }) => !reused).length, 1);
    await Promise.all(users.map((user) => user.leave()));
    // The lock must be free with the last answer, not a moment later.
    assert.equal(isLocked(lockFileOf(key)), false, `round ${round}`);
    assert.equal(existsSync(stateDir), false, `round ${round}`);
    assert.equal(await accepts(port), false, `round ${round}`);
    await nothingIsLeft(key);
  }
});

test('when all users are killed, a call with other options starts its own server and removes the old folder', async (t) => {
  const key = ownKey();
  for (let round = 1; round <= rounds(30); round += 1) {
    const users = await startUsers(t, 2, { key });
    const joined = await Promise.all(users.map((user) => user.join()));
    const [{ stateDir }] = joined as [(typeof joined)[number]];
    const relic = join(stateDir, 'relic');
    writeFileSync(relic, '');
    for (const user of users) user.kill();
    await Promise.all(users.map((user) => user.program.exited));
    const other = await startShared(redisPreset, { key, args: ['--databases', String(round + 1)] });
    assert.equal(other.reused, false, `round ${round}`);
    assert.equal(await redisPid(other.port), other.pid);
    assert.equal(existsSync(relic), false);
    await other.leave();
    assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
  }
});

test('when four of five users are killed one after another, the fifth keeps the server until it is killed too', async (t) => {
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
    await eventually('one user fewer is counted', async () => (await manager.status()).users === 4 - index);
    if (index < 4) assert.equal((await manager.status()).state, 'running');
  }
  await nothingIsLeft(key);
  await leavesNoFolder(key);
});

/** When the last user was killed, its folder stays until the next user removes it. */
async function leavesNoFolder(key: string): Promise<void> {
  await (await startShared(redisPreset, { key })).leave();
  assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
}

/** The socket of a killed process can exist an instant longer than its lock. */
async function portIsFree(port: number): Promise<void> {
  await eventually(`port ${port} is free`, async () => !(await accepts(port)));
}

function worst(times: readonly number[]): number {
  return Math.round(Math.max(...times));
}
