import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isLocked, ProcessManager } from '../../src/index.js';
import { startBystanders } from '../helpers/bystanders.js';
import { isRunningProcess, startSecond, startTicks } from '../helpers/evidence.js';
import { startPowerlessManager } from '../helpers/powerless.js';
import { startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

/** Everything works with a PID file that its user may not read or may not replace. */
const places: Record<string, (folder: string, pidFile: string, content: string) => void> = {
  'is unreadable': (_, pidFile, content) => {
    writeFileSync(pidFile, content, { mode: 0o000 });
  },
  'is in a folder that may not be written': (folder, pidFile, content) => {
    writeFileSync(pidFile, content);
    chmodSync(folder, 0o555);
  },
  'is in a folder that may not be entered': (folder, pidFile, content) => {
    writeFileSync(pidFile, content);
    chmodSync(folder, 0o000);
  },
  'is unreadable, in a folder that may not be written': (folder, pidFile, content) => {
    writeFileSync(pidFile, content, { mode: 0o000 });
    chmodSync(folder, 0o555);
  },
};

for (const [what, make] of Object.entries(places)) {
  test(`every call works although the PID file ${what}`, async (t) => {
    const bystanders = await startBystanders(t);
    const { pid: stranger, startTime } = bystanders.plain;
    const folder = lockableFolder(t);
    const spec = await redisSpec(t, { pidFile: join(folder, 'redis.pid') });
    make(folder, join(folder, 'redis.pid'), `${stranger}\nredis-server\n${startTime}\n`);
    const manager = await startPowerlessManager(t, spec);
    assert.equal((await manager.status()).state, 'stopped');
    const { pid } = await manager.start();
    assert.equal(await redisPid(spec.port), pid);
    const { state, pid: reported } = await manager.status();
    assert.deepEqual([state, reported], ['running', pid]);
    const again = await manager.start();
    assert.deepEqual([again.pid, again.reused], [pid, true]);
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.equal(isRunningProcess(pid), false);
    await bystanders.assertUnharmed();
  });
}

test('a PID file that names the starter harms neither the starter nor its server', async (t) => {
  const spec = await redisSpec(t);
  const remote = await startRemoteManager(t, spec);
  const { pid } = await remote.start();
  const manager = new ProcessManager(spec);
  const starter = remote.program.pid;
  for (const record of [`${starter}\n`, `${starter}\nredis-server\n${startSecond(starter)}\n`]) {
    writeFileSync(manager.spec.pidFile, record);
    assert.equal((await manager.status()).pid, pid);
    assert.equal((await manager.start()).pid, pid);
  }
  writeFileSync(manager.spec.pidFile, `${starter}\n`);
  await manager.stop();
  assert.equal(isRunningProcess(pid), false);
  assert.equal((await remote.status()).state, 'stopped');
});

test('a file or link in the place of the new PID file is not written into', async (t) => {
  const treasure = join(temporaryFolder(t), 'treasure');
  writeFileSync(treasure, 'kept');
  for (const make of [(path: string) => symlinkSync(treasure, path), (path: string) => mkdirSync(path)]) {
    const spec = await redisSpec(t);
    const manager = new ProcessManager(spec);
    mkdirSync(spec.stateDir);
    make(`${manager.spec.pidFile}.new`);
    const { pid } = await manager.start();
    assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
    await manager.stop();
    assert.equal(readFileSync(treasure, 'utf8'), 'kept');
  }
});

test('a start that finds a running server corrects the PID file', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const { pidFile, lockFile } = manager.spec;
  const record = readFileSync(pidFile, 'utf8');
  assert.equal(record, `${pid}\nredis-server\n${startSecond(pid)}\n`);
  const gone = startProgram(t, 'true');
  await gone.ended();
  const ticks = startTicks(pid);
  for (const poison of [`${gone.pid}\nredis-server\n1700000000\n`, 'noise', '']) {
    writeFileSync(pidFile, poison);
    const before = statSync(pidFile).mtimeMs;
    assert.deepEqual([(await manager.status()).checks.pidFile, statSync(pidFile).mtimeMs], [false, before]);
    const instance = await manager.start();
    assert.deepEqual([instance.pid, instance.reused], [pid, true]);
    assert.equal(readFileSync(pidFile, 'utf8'), record);
    assert.equal((await manager.status()).checks.pidFile, true);
  }
  assert.equal(statSync(pidFile).mode & 0o777, 0o600);
  assert.equal(startTicks(pid), ticks);
  assert.equal(isLocked(lockFile), true);
});

/** A folder that can be removed after the test, whatever mode the test gives it. */
function lockableFolder(t: TestContext): string {
  let folder: string | undefined;
  t.after(() => folder !== undefined && chmodSync(folder, 0o700));
  folder = join(temporaryFolder(t), 'records');
  mkdirSync(folder);
  return folder;
}
