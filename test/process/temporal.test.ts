/** A Temporal in the background as a command-line tool uses it: one process starts it, and others use and stop it. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CommandNotFoundError, isLocked, ProcessManager, temporalDevServer } from '../../src/index.js';
import { freePort, killAfter, temporaryFolder } from '../helpers/resources.js';
import { temporalBinary } from '../helpers/temporal.js';
import { callElsewhere, connect, startDespiteLostPorts, temporalOptions } from '../helpers/temporal-instances.js';

test('a Temporal outlives the process that started it, and a third process stops it', async (t) => {
  const options = await temporalOptions(t);
  const manager = new ProcessManager(temporalDevServer(options));
  const { instance } = await callElsewhere(t, 'start', options);
  const report = await manager.status();
  assert.equal(report.state, 'running');
  assert.equal(report.pid, instance?.pid);
  const allPassed = { lock: true, pidFile: true, process: true, identity: true, port: true, health: true };
  assert.deepEqual({ ...report.checks }, allPassed);
  const { stopped } = await callElsewhere(t, 'stop', options);
  assert.equal(stopped?.outcome, 'stopped');
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('a workflow can be started in every configured namespace as soon as start() resolves', async (t) => {
  const namespaces = ['default', 'orders', 'billing'];
  const options = await temporalOptions(t, { namespaces: namespaces.slice(1) });
  const instance = await startDespiteLostPorts(new ProcessManager(temporalDevServer(options)));
  for (const namespace of namespaces) {
    const client = await connect(t, instance, namespace);
    const handle = await client.workflow.start('anything', { taskQueue: 'none', workflowId: `first-of-${namespace}` });
    assert.equal((await handle.describe()).status.name, 'RUNNING', namespace);
  }
});

test('without a stateDir files and binary are where the Go CLI has them', async (t) => {
  const home = temporaryFolder(t);
  const folder = join(home, '.stigmer');
  mkdirSync(join(folder, 'bin'), { recursive: true });
  symlinkSync(temporalBinary(), join(folder, 'bin/temporal'));
  const options = { port: await freePort(), uiPort: false } as const;
  const environment = { env: { ...process.env, HOME: home } };

  const { instance, error } = await callElsewhere(t, 'start', options, environment);
  assert.ok(instance !== undefined, error?.message);
  killAfter(t, instance.pid);
  assert.equal(isLocked(join(folder, 'temporal.lock')), true);
  const [pid, name, startTime] = readFileSync(join(folder, 'temporal.pid'), 'utf8').split('\n');
  assert.equal(pid, String(instance.pid));
  assert.equal(name, 'temporal');
  assert.match(startTime ?? '', /^\d{10}$/);
  assert.ok(statSync(join(folder, 'logs/temporal.log')).isFile());
  assert.ok(statSync(join(folder, 'temporal-data/temporal.db')).size > 0);

  const { stopped } = await callElsewhere(t, 'stop', options, environment);
  assert.equal(stopped?.outcome, 'stopped');
  assert.equal(isLocked(join(folder, 'temporal.lock')), false);
});

test('a command that does not exist causes a CommandNotFoundError that says how to install it, and nothing runs', async (t) => {
  const command = join(temporaryFolder(t), 'temporal');
  const manager = new ProcessManager(temporalDevServer(await temporalOptions(t, { command })));
  await assert.rejects(manager.start(), (error) => {
    assert.ok(error instanceof CommandNotFoundError);
    assert.equal(error.command, command);
    assert.match(error.message, /install/i);
    return true;
  });
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal((await manager.status()).state, 'stopped');
});

test('on a machine without Temporal CommandNotFoundError says how to install it', async (t) => {
  const home = temporaryFolder(t);
  const bare = { env: { ...process.env, HOME: home, PATH: '/nonexistent' } };
  const { error } = await callElsewhere(t, 'start', { port: await freePort() }, bare);
  assert.equal(error?.name, 'CommandNotFoundError');
  assert.match(error?.message ?? '', /install/i);
});

test('restart() starts a new process on the same database', async (t) => {
  const { options, dataDir } = await persistentTemporal(t);
  const manager = new ProcessManager(temporalDevServer(options));
  const first = await startDespiteLostPorts(manager);
  const before = await connect(t, first);
  await before.workflow.start('anything', { taskQueue: 'none', workflowId: 'lasting' });
  const second = await startDespiteLostPorts(manager, 'restart');
  assert.notEqual(second.pid, first.pid);
  assert.equal(second.reused, false);
  const after = await connect(t, second);
  assert.equal((await after.workflow.getHandle('lasting').describe()).status.name, 'RUNNING');
  assert.ok(readdirSync(dataDir).includes('temporal.db'));
});

test('a workflow survives a kill -9 of Temporal', async (t) => {
  const { options } = await persistentTemporal(t);
  const manager = new ProcessManager(temporalDevServer(options));
  const first = await startDespiteLostPorts(manager);
  const before = await connect(t, first);
  await before.workflow.start('anything', { taskQueue: 'none', workflowId: 'survivor' });
  process.kill(first.pid, 'SIGKILL');
  const second = await startDespiteLostPorts(manager);
  const after = await connect(t, second);
  assert.equal((await after.workflow.getHandle('survivor').describe()).status.name, 'RUNNING');
});

/** A Temporal with a database in a folder that does not exist yet. */
async function persistentTemporal(t: Parameters<typeof temporalOptions>[0]) {
  const options = await temporalOptions(t);
  const dataDir = join(options.stateDir, 'made/by/start');
  return { options: { ...options, dbFilename: join(dataDir, 'temporal.db') }, dataDir };
}
