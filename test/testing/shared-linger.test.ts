/**
 * `lingerMs` of startShared: users of one key join one after another, or no longer join. The campaign attacks each
 * instant of a linger.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { OptionsMismatchError, startShared } from '../../src/index.js';
import { redisPid } from '../helpers/redis.js';
import { nothingIsLeft, ownKey, redisPreset, startUsers } from '../helpers/shared.js';
import { MUST_HAPPEN_MS } from '../helpers/waiting.js';

/** Longer than any test runs, so that no linger ends by itself. */
const ENDLESS_MS = 600_000;

test('a run whose users are all killed leaves nothing for longer than lingerMs', async (t) => {
  const [key, lingerMs] = [ownKey(), 4_000];
  const users = await startUsers(t, 3, { key, lingerMs });
  const { pid, port } = await users[0].join();
  await Promise.all(users.slice(1).map((user) => user.join()));
  const killedAt = performance.now();
  for (const user of users) user.kill();
  await Promise.all(users.map(({ program }) => program.exited));
  assert.equal(await redisPid(port), pid);
  await nothingIsLeft(key);
  const keptMs = performance.now() - killedAt;
  t.diagnostic(`gone ${Math.round(keptMs)} ms after the last user was killed`);
  assert.ok(keptMs >= lingerMs && keptMs < lingerMs + MUST_HAPPEN_MS / 3, `${keptMs} ms`);
});

test('the folder of an instance that lingered stays until the next call removes it', async () => {
  const key = ownKey();
  const one = await startShared(redisPreset, { key, lingerMs: 300 });
  await one.leave();
  await nothingIsLeft(key);
  assert.equal(existsSync(one.stateDir), true);
  const logText = await one.manager.logTail();
  assert.notDeepEqual(logText, []);
  const other = await startShared(redisPreset, { key });
  assert.equal(other.reused, false);
  await other.leave();
  assert.equal(existsSync(one.stateDir), false);
});

test('a call with other options starts its own server during a linger, and is a mismatch while there are users', async () => {
  const key = ownKey();
  const one = await startShared(redisPreset, { key, lingerMs: ENDLESS_MS });
  await assert.rejects(startShared(redisPreset, { key, lingerMs: 1 }), (error) => {
    assert.ok(error instanceof OptionsMismatchError);
    assert.deepEqual(error.differences, ['lingerMs']);
    return true;
  });
  await one.leave();
  assert.equal(await redisPid(one.port), one.pid);
  const other = await startShared(redisPreset, { key, args: ['--databases', '3'] });
  assert.equal(other.reused, false);
  assert.equal(await redisPid(other.port), other.pid);
  await other.leave();
  await nothingIsLeft(key);
});

test('stop() ends a shared server that lingers, and nothing is left', async () => {
  const key = ownKey();
  const { manager, leave } = await startShared(redisPreset, { key, lingerMs: ENDLESS_MS });
  await leave();
  assert.notEqual((await manager.stop()).outcome, 'not-running');
  await nothingIsLeft(key);
});
