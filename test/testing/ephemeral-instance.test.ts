/** One ephemeral instance: what it is given, and that it leaves nothing. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { EarlyExitError, type ProcessSpec, startEphemeral } from '../../src/index.js';
import { nodePreset, ownTemporaryFolder, redisPreset, userFolder } from '../helpers/ephemeral.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { argumentsOf } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { accepts, livingInGroup } from '../helpers/witness.js';

function folders(): string[] {
  return existsSync(userFolder()) ? readdirSync(userFolder()).filter((name) => name.startsWith('ephemeral-')) : [];
}

test('an ephemeral instance has a port and a folder of its own, and is ready, tied and never reused', async (t) => {
  ownTemporaryFolder(t);
  const server = await startEphemeral(redisPreset);
  t.after(() => server.stop());
  assert.equal(server.address, `127.0.0.1:${server.port}`);
  assert.equal(await accepts(server.port), true);
  assert.equal(server.reused, false);
  assert.equal(dirname(server.stateDir), userFolder());
  assert.equal(server.manager.spec.lifetime, 'tied');
  assert.equal(server.manager.spec.stopSignal, 'SIGKILL');
  assert.equal((await server.manager.status()).state, 'running');
  assert.deepEqual(
    folders().map((name) => join(userFolder(), name)),
    [server.stateDir],
  );
});

test('stop() ends the instance, removes its folder, and can be called again, at once and later', async (t) => {
  ownTemporaryFolder(t);
  const server = await startEphemeral(redisPreset);
  await Promise.all([server.stop(), server.stop()]);
  assert.deepEqual(livingInGroup(server.pid), []);
  assert.equal(await accepts(server.port), false);
  assert.deepEqual(folders(), []);
  await server.stop();
});

test('await using ends the instance with its block, even when the block throws', async (t) => {
  ownTemporaryFolder(t);
  let pid = 0;
  await assert.rejects(async () => {
    await using server = await startEphemeral(redisPreset);
    pid = server.pid;
    throw new Error('a failed test');
  }, /a failed test/);
  assert.notEqual(pid, 0);
  assert.deepEqual([livingInGroup(pid), folders()], [[], []]);
});

test('an option overrides the default that the preset has for tests, and undefined does not', async (t) => {
  const databases = async (options?: { databases?: number }) => {
    await using server = await startEphemeral(redisPreset, options);
    return argumentsOf(server.pid).length > 0 ? server.manager.spec.args?.at(-1) : undefined;
  };
  assert.equal(await databases(), '3');
  assert.equal(await databases({ databases: 5 }), '5');
  const nothing = { databases: undefined, port: undefined, stateDir: undefined, signal: undefined };
  await using server = await startEphemeral(redisPreset, nothing as unknown as { databases: number });
  assert.equal(server.manager.spec.args?.at(-1), '3');
  assert.equal(dirname(server.stateDir), userFolder());
  assert.notEqual(server.port, 1);
  t.diagnostic(server.address);
});

test('a given port is used', async () => {
  const port = await freePort();
  await using server = await startEphemeral(redisPreset, { port });
  assert.equal(server.port, port);
  assert.equal(await accepts(port), true);
});

test('a given port that is in use gives PortInUseError, and no other port is tried', async (t) => {
  ownTemporaryFolder(t);
  const port = await freePort();
  const other = createServer().listen(port, '127.0.0.1');
  t.after(() => other.close());
  await assert.rejects(startEphemeral(redisPreset, { port }), { code: 'ERR_PORT_IN_USE' });
  assert.deepEqual(folders(), []);
});

test('a given folder is used and stays, and its server gets the stop signal', async (t) => {
  const stateDir = join(temporaryFolder(t), 'state');
  const server = await startEphemeral(nodePreset({ 'on-term': 0 }), { stateDir });
  assert.equal(server.stateDir, stateDir);
  assert.equal(server.manager.spec.stopSignal, 'SIGTERM');
  const exits: unknown[] = [];
  server.manager.on('exit', ({ exitCode, signal }) => exits.push([exitCode, signal]));
  await server.stop();
  assert.ok(existsSync(join(stateDir, 'node-server.lock')));
  assert.deepEqual(livingInGroup(server.pid), []);
  await eventually('the exit event is emitted', () => exits.length > 0);
  assert.deepEqual(exits, [[0, null]]);
});

test('an instance in its own folder is killed at once and gets no SIGTERM', async () => {
  const server = await startEphemeral(nodePreset({ 'on-term': 'ignore' }));
  const reported: string[] = [];
  const exits: unknown[] = [];
  server.manager.on('exit', ({ exitCode, signal }) => {
    exits.push([exitCode, signal]);
    reported.push(readFileSync(server.manager.spec.logFile, 'utf8'));
  });
  await server.stop();
  assert.deepEqual(exits, [[null, 'SIGKILL']]);
  assert.doesNotMatch(reported[0] ?? '', /SIGTERM/);
});

test('a relative TMPDIR is resolved at the start, so stop() removes the folder in any working directory', async (t) => {
  ownTemporaryFolder(t);
  const place = realpathSync(process.env.TMPDIR ?? '');
  const before = process.cwd();
  t.after(() => process.chdir(before));
  process.env.TMPDIR = 'relative';
  process.chdir(place);
  const server = await startEphemeral(redisPreset);
  t.after(() => server.stop());
  assert.ok(server.stateDir.startsWith(join(place, 'relative')), server.stateDir);
  process.chdir(before);
  await server.stop();
  assert.equal(existsSync(server.stateDir), false);
});

test('a start that fails leaves neither folder nor process', async (t) => {
  ownTemporaryFolder(t);
  await assert.rejects(
    startEphemeral(nodePreset({ 'listen-after': 60_000, 'exit-after': 0, 'exit-code': 3 })),
    EarlyExitError,
  );
  const slow = { ...nodePreset({ 'listen-after': 60_000 })({ port: 1, stateDir: '/' }), startTimeoutMs: 300 };
  const preset = (options: { stateDir?: string; port?: number }): ProcessSpec => ({ ...slow, ...options });
  await assert.rejects(startEphemeral(preset), { code: 'ERR_START_TIMEOUT' });
  assert.deepEqual(folders(), []);
});

test('an aborted start leaves neither folder nor process, and an aborted signal starts nothing', async (t) => {
  ownTemporaryFolder(t);
  const preset = nodePreset({ 'listen-after': 60_000 });
  await assert.rejects(startEphemeral(preset, { signal: AbortSignal.timeout(150) }), { name: 'TimeoutError' });
  assert.deepEqual(folders(), []);
  await assert.rejects(startEphemeral(preset, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  assert.deepEqual(folders(), []);
});

test('a preset without a port is a TypeError that names it', async (t) => {
  ownTemporaryFolder(t);
  const preset = ({ stateDir = '/' }: { stateDir?: string; port?: number }): ProcessSpec => ({
    name: 'portless',
    command: 'sleep',
    args: ['300'],
    stateDir,
  });
  await assert.rejects(startEphemeral(preset), (error) => error instanceof TypeError && /portless/.test(error.message));
  assert.deepEqual(folders(), []);
});

test('a port that is taken between the check and the start is replaced by another one', async () => {
  const takers = new Set<ReturnType<typeof createServer>>();
  const tried: number[] = [];
  // The preset is called after the port is reserved and before a server listens on it.
  const preset = (options: { stateDir?: string; port?: number }): ProcessSpec => {
    tried.push(options.port ?? 0);
    if (tried.length <= 2) takers.add(createServer().listen(options.port, '127.0.0.1'));
    return redisPreset(options);
  };
  await using server = await startEphemeral(preset);
  for (const taker of takers) taker.close();
  assert.equal(tried.length, 3);
  assert.equal(new Set(tried).size, 3);
  assert.equal(server.port, tried[2]);
});
