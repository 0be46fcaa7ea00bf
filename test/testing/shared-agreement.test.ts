/**
 * The settings that the users of one key must agree on: options, port and folder, and what a user with other settings
 * gets.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EarlyExitError, OptionsMismatchError, type ProcessSpec, startShared } from '../../src/index.js';
import { unlessRoot } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import {
  nothingIsLeft,
  ownKey,
  processesOf,
  type RedisOptions,
  redisPreset,
  sharedFolder,
  startUser,
  startUsers,
} from '../helpers/shared.js';
import { eventually } from '../helpers/waiting.js';
import { accepts } from '../helpers/witness.js';

test('a caller with other options gets an OptionsMismatchError that names the fields, and is not counted', async () => {
  const key = `_${ownKey()}`;
  const instance = await startShared(redisPreset, { key });
  const slower = (options: RedisOptions): ProcessSpec => ({ ...redisPreset(options), startTimeoutMs: 5_000 });
  await assert.rejects(startShared(slower, { key, args: ['--databases', '3'] }), (error) => {
    assert.ok(error instanceof OptionsMismatchError);
    assert.deepEqual([error.key, error.code], [key, 'ERR_OPTIONS_MISMATCH']);
    assert.deepEqual(error.differences, ['args', 'startTimeoutMs']);
    for (const field of [key, 'args', 'startTimeoutMs']) assert.match(error.message, new RegExp(`"${field}"`));
    assert.doesNotMatch(error.message, /"command"|"port"|"stateDir"/);
    return true;
  });
  assert.equal((await instance.manager.status()).users, 1);
  assert.equal(await redisPid(instance.port), instance.pid);
  await instance.leave();
  await nothingIsLeft(key);
  const other = await startShared(slower, { key, args: ['--databases', '3'] });
  assert.equal(other.reused, false);
  await other.leave();
});

test('functions and undefined options are not compared', async () => {
  const key = ownKey();
  const healthy = (options: RedisOptions): ProcessSpec => ({ ...redisPreset(options), isHealthy: () => true });
  const one = await startShared(healthy, { key });
  const other = await startShared(redisPreset, { key, args: undefined } as unknown as { key: string });
  assert.equal(other.pid, one.pid);
  await Promise.all([one.leave(), other.leave(), other.leave()]);
  await one.leave();
  await nothingIsLeft(key);
});

test('environment variables are compared one by one in any order, and their values are never written to a file', async () => {
  const key = ownKey();
  const withEnv = (env: Record<string, string | undefined>) => (options: RedisOptions) => ({
    ...redisPreset(options),
    env,
  });
  const one = await startShared(withEnv({ TOKEN: 'correct horse', COLOUR: 'turquoise' }), { key });
  const same = await startShared(withEnv({ COLOUR: 'turquoise', TOKEN: 'correct horse' }), { key });
  assert.equal(same.pid, one.pid);
  const removed = withEnv({ COLOUR: 'turquoise', TOKEN: 'correct horse', REMOVED: undefined });
  await assert.rejects(startShared(removed, { key }), { differences: ['env.REMOVED'] });
  await assert.rejects(startShared(withEnv({ TOKEN: 'battery staple', SHAPE: 'octagon' }), { key }), (error) => {
    assert.ok(error instanceof OptionsMismatchError);
    assert.deepEqual(error.differences.toSorted(), ['env.COLOUR', 'env.SHAPE', 'env.TOKEN']);
    assert.doesNotMatch(error.message, /horse|staple|turquoise|octagon/);
    return true;
  });
  const files = readdirSync(one.stateDir, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    files.filter((name) => name.startsWith('agreement')),
    ['agreement.json'],
  );
  for (const name of files.filter((name) => statSync(join(one.stateDir, name)).isFile())) {
    assert.doesNotMatch(readFileSync(join(one.stateDir, name), 'utf8'), /horse|staple|turquoise|octagon/, name);
  }
  await Promise.all([one.leave(), same.leave()]);
});

test('a preset whose spec differs at each call works for one caller, and is a mismatch for the next', async () => {
  const key = ownKey();
  const preset = (options: RedisOptions): ProcessSpec => ({ ...redisPreset(options), env: { TOKEN: randomUUID() } });
  const one = await startShared(preset, { key });
  await assert.rejects(startShared(preset, { key }), { name: 'OptionsMismatchError', differences: ['env.TOKEN'] });
  await one.leave();
  await nothingIsLeft(key);
});

test('a given port is used, and a different port is a mismatch', async () => {
  const [key, port] = [ownKey(), await freePort()];
  const one = await startShared(redisPreset, { key, port });
  assert.equal(one.port, port);
  assert.equal(one.address, `127.0.0.1:${port}`);
  const other = startShared(redisPreset, { key, port: await freePort() });
  await assert.rejects(other, { name: 'OptionsMismatchError', message: /"args", "port" differ/ });
  await one.leave();
});

test('a given stateDir is used and not removed', async (t) => {
  const key = ownKey();
  const stateDir = join(temporaryFolder(t), 'state');
  await using one = await startShared(redisPreset, { key, stateDir });
  assert.equal(one.stateDir, stateDir);
  const other = await startShared(redisPreset, { key, stateDir });
  assert.equal(other.pid, one.pid);
  await other.leave();
  await assert.rejects(startShared(redisPreset, { key }), OptionsMismatchError);
  await one.leave();
  assert.ok(existsSync(join(stateDir, 'logs/redis.log')));
});

test('await using leaves the shared instance at the end of its block', async () => {
  const key = ownKey();
  let pid = 0;
  {
    await using instance = await startShared(redisPreset, { key });
    pid = instance.pid;
    assert.equal(isRunning(pid), true);
  }
  assert.equal(isRunning(pid), false);
  await nothingIsLeft(key);
});

test('the folders are for this user alone, and only locks and the journal stay when the folder of an instance is removed', async () => {
  const key = ownKey();
  const { leave, stateDir, manager } = await startShared(redisPreset, { key });
  const folder = sharedFolder();
  assert.equal(stateDir, join(folder, `${key}.state`));
  for (const path of [join(folder, '..'), folder, stateDir]) assert.equal(statSync(path).mode & 0o777, 0o700, path);
  assert.ok(manager.spec.logFile.startsWith(`${stateDir}/`));
  await leave();
  const left = readdirSync(folder).filter((name) => name.startsWith(`${key}.`));
  assert.ok(left.length > 0 && !left.includes(`${key}.state`));
  const locks = left.filter((name) => name !== `${key}.journal`);
  for (const name of locks) assert.equal(statSync(join(folder, name)).size, 0, name);
});

test('a key may be another key followed by ".lock"', async () => {
  const key = ownKey();
  await using one = await startShared(redisPreset, { key });
  await using other = await startShared(redisPreset, { key: `${key}.lock` });
  assert.notEqual(one.pid, other.pid);
});

test('options that make a bad spec are refused, and are not recorded for other users', async () => {
  const key = ownKey();
  const bad = startShared(
    (options: { port?: number; stateDir?: string }) => ({ ...redisPreset(options), name: 'no name' }),
    {
      key,
    },
  );
  await assert.rejects(bad, { name: 'TypeError', message: /"name" must be/ });
  assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
  await using instance = await startShared(redisPreset, { key });
  assert.equal(instance.reused, false);
});

for (const key of ['', 'a/b', '../a', 'a b', 'ä', 'a\0', 'x'.repeat(101), 7, undefined]) {
  test(`the key ${JSON.stringify(key)?.slice(0, 20)} is a TypeError that names it`, async () => {
    const call = startShared(redisPreset, { key: key as string });
    await assert.rejects(call, { name: 'TypeError', message: /"key" must be/ });
  });
}

for (const first of ['k', '.', '..', '_', '-']) {
  test(`a key of 100 letters, digits, dots, underscores and hyphens that begins with "${first}" works`, async () => {
    const key = `${first}${ownKey()}._-A`.padEnd(100, 'x');
    const instance = await startShared(redisPreset, { key });
    assert.equal(instance.reused, false);
    await instance.leave();
    await nothingIsLeft(key);
  });
}

const intruders: Record<string, (path: string, t: TestContext) => void> = {
  'belongs to somebody else': (path) => {
    mkdirSync(path, { mode: 0o700 });
    chownSync(path, 65_534, 65_534);
  },
  'may be written by others': (path) => {
    mkdirSync(path);
    chmodSync(path, 0o777);
  },
  'is a symbolic link': (path, t) => symlinkSync(temporaryFolder(t), path),
};

for (const [what, make] of Object.entries(intruders)) {
  test(`a folder in the temp folder that ${what} is refused, and nothing is created in it`, {
    skip: unlessRoot,
  }, async (t) => {
    const temp = temporaryFolder(t);
    const folder = join(temp, `flock-process-${process.getuid?.()}`);
    make(folder, t);
    const key = ownKey();
    const user = await startUser(t, { key }, { env: { ...process.env, TMPDIR: temp } });
    await assert.rejects(user.join(), {
      name: 'SpawnError',
      message: new RegExp(`"${key}".*"${folder}".*TMPDIR`),
    });
    assert.deepEqual(readdirSync(folder), []);
  });
}

test('when a server fails to start, every caller gets the error with the log, and nothing is left', async (t) => {
  const key = ownKey();
  const broken = { key, args: ['--no-such-option', 'x'] };
  await assert.rejects(startShared(redisPreset, broken), (error) => {
    assert.ok(error instanceof EarlyExitError);
    assert.match(error.logTail.join('\n'), /no-such-option/);
    return true;
  });
  assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
  const users = await startUsers(t, 3, broken);
  const outcomes = await Promise.allSettled(users.map((user) => user.join()));
  for (const outcome of outcomes) assert.match(String(outcome.status === 'rejected' && outcome.reason), /EarlyExit/);
  assert.deepEqual(processesOf(key), []);
  assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false);
  const [healthy] = await startUsers(t, 1, { key });
  assert.equal((await healthy.join()).reused, false);
  await healthy.leave();
});

test('an aborted call throws the reason of the abort, and does not stay a user', async () => {
  const key = ownKey();
  const signal = AbortSignal.abort(new Error('not wanted'));
  await assert.rejects(startShared(redisPreset, { key, signal }), /not wanted/);
  const one = await startShared(redisPreset, { key });
  await assert.rejects(startShared(redisPreset, { key, signal }), /not wanted/);
  assert.equal((await one.manager.status()).users, 1);
  await one.leave();
});

test('a stranger on the port after a crash causes PortInUseError while there are users, and another port once all have left', async (t) => {
  const key = ownKey();
  const one = await startShared(redisPreset, { key });
  process.kill(one.pid, 'SIGKILL');
  await eventually('the port is free', async () => !(await accepts(one.port)));
  const stranger = startProgram(t, 'redis-server', ['--port', String(one.port), '--save', '']);
  await stranger.printed(/Ready to accept connections/);
  await assert.rejects(startShared(redisPreset, { key }), {
    name: 'PortInUseError',
    port: one.port,
    pid: stranger.pid,
  });
  assert.equal((await one.manager.status()).users, 1);
  await one.leave();
  const other = await startShared(redisPreset, { key });
  assert.notEqual(other.port, one.port);
  assert.equal(await redisPid(one.port), stranger.pid);
  await other.leave();
});

test('a given option overrides the default that the preset has for tests', async () => {
  const seen: unknown[] = [];
  const preset = Object.assign(
    (options: RedisOptions) => {
      seen.push(options.args);
      return redisPreset(options);
    },
    { forTests: { args: ['--databases', '2'] } },
  );
  for (const args of [undefined, ['--databases', '5']]) {
    const key = ownKey();
    await (await startShared(preset, { key, ...(args && { args }) })).leave();
  }
  assert.deepEqual(seen, [
    ['--databases', '2'],
    ['--databases', '5'],
  ]);
});
