/**
 * The branch without /proc. Each call is made in a process that takes its platform for macOS, and so asks ps(1) and
 * lsof(1).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, type Instance, isLocked, ProcessManager, type Status, type StopResult } from '../../src/index.js';
import * as linux from '../../src/system/process-table-linux.js';
import * as portable from '../../src/system/process-table-portable.js';
import { callOnDarwin, onDarwin, oneCallCommand } from '../helpers/one-call.js';
import { isRunning, logged, processesIn, stateOf } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { assertNeverReady } from '../helpers/short-lived.js';
import { eventually } from '../helpers/waiting.js';

test('ps(1) and lsof(1) are installed', () => {
  for (const command of ['ps', 'lsof']) assert.equal(spawnSync(command, ['-v']).error, undefined, command);
});

test('both branches say the same about a process', async (t) => {
  const manager = new ProcessManager(await nodeSpec(t));
  const { pid } = await manager.start();
  const { lockFile, logFile } = manager.spec;
  const [one, other] = [linux.lookUp(pid), portable.lookUp(pid)];
  assert.ok(one !== undefined && other !== undefined);
  assert.deepEqual({ ...other, startKey: '' }, { ...one, startKey: '' });
  assert.ok(Math.abs(linux.startTime(one) - portable.startTime(other)) <= 2);
  // ps rounds down the boot time and the start time, each by up to a second.
  const difference = portable.age(other) - linux.age(one);
  assert.ok(difference > -1_000 && difference < 3_000, `${difference} ms`);
  assert.ok(portable.commandNames(pid).includes('node'));
  assert.deepEqual(
    portable.carriers(lockFile).map(({ process: found, fd }) => [found.pid, fd]),
    linux.carriers(lockFile).map(({ process: found, fd }) => [found.pid, fd]),
  );
  for (const table of [linux, portable]) {
    assert.deepEqual(
      [3, 0, 7].map((fd) => table.carries(pid, fd, lockFile)),
      [true, false, false],
    );
    const files = [logFile, lockFile].map((path) => statSync(path));
    assert.deepEqual(
      files.map(({ dev: device, ino: inode }) => table.logsTo(pid, { device, inode })),
      [true, false],
    );
    assert.equal(table.lostLock(pid, 3, lockFile), undefined);
  }
  rmSync(lockFile);
  for (const table of [linux, portable]) assert.equal(table.lostLock(pid, 3, lockFile), 'deleted');
});

test('both branches say the same about suspended and dead processes', async (t) => {
  const parent = startProgram(t, 'python3', [
    '-c',
    'import os,time\nprint(os.fork() or os._exit(0), flush=True)\ntime.sleep(300)',
  ]);
  const pid = Number((await parent.printed(/(\d+)\n/))[1]);
  await eventually('the killed process is a zombie', () => stateOf(pid) === 'Z');
  parent.kill('SIGSTOP');
  await eventually('the process is suspended', () => stateOf(parent.pid) === 'T');
  for (const table of [linux, portable]) {
    assert.equal(table.lookUp(pid)?.isZombie, true);
    assert.equal(table.lookUp(parent.pid)?.isSuspended, true);
    assert.equal(table.lookUp(2 ** 31 - 1), undefined);
    assert.ok(table.list().some((found) => found.pid === pid && found.isZombie));
  }
});

test('without /proc start, reuse, status, restart and stop work', async (t) => {
  for (const spec of [await redisSpec(t), await pythonSpec(t)]) {
    const first = await callOnDarwin<Instance>(t, 'start', spec);
    const again = await callOnDarwin<Instance>(t, 'start', spec);
    assert.deepEqual([first.reused, again.reused, again.pid], [false, true, first.pid]);
    const status = await callOnDarwin<Status>(t, 'status', spec);
    assert.deepEqual([status.state, status.pid], ['running', first.pid]);
    assert.deepEqual(status.checks, { lock: true, pidFile: true, process: true, identity: true, port: true });
    assert.deepEqual(
      await callOnDarwin(t, 'lockHolders', { ...spec, lockFile: join(spec.stateDir, `${spec.name}.lock`) }),
      [first.pid],
    );
    const next = await callOnDarwin<Instance>(t, 'restart', spec);
    assert.notEqual(next.pid, first.pid);
    assert.equal(isRunning(first.pid), false);
    assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
    assert.equal(isRunning(next.pid), false);
    assert.equal((await callOnDarwin<Status>(t, 'status', spec)).state, 'stopped');
  }
});

test('each branch recognises the processes that the other one started', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await callOnDarwin<Instance>(t, 'start', spec);
  assert.equal((await new ProcessManager(spec).start()).pid, pid);
  assert.equal((await new ProcessManager(spec).stop()).outcome, 'stopped');
  const own = await new ProcessManager(spec).start();
  assert.equal((await callOnDarwin<Instance>(t, 'start', spec)).pid, own.pid);
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
});

test('without /proc the holder is found when the PID file is missing or names a stranger', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  const pidFile = join(spec.stateDir, 'redis.pid');
  rmSync(pidFile);
  const status = await callOnDarwin<Status>(t, 'status', spec);
  assert.deepEqual([status.state, status.pid, status.checks.pidFile], ['running', pid, false]);
  const bystander = startProgram(t, 'sleep', ['300']);
  writeFileSync(pidFile, `${bystander.pid}\nredis-server\n${Math.floor(Date.now() / 1000)}\n`);
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
  assert.equal(bystander.isAlive, true);
});

test('without /proc a stop ends the group, and children in other sessions', async (t) => {
  for (const child of ['stay', 'session']) {
    const spec = await nodeSpec(t, { child });
    await callOnDarwin<Instance>(t, 'start', spec);
    const { logFile } = new ProcessManager(spec).spec;
    const pid = killAfter(t, Number((await logged(logFile, /child (\d+)/))[1]));
    assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped', child);
    assert.equal(isRunning(pid), false, child);
    assert.deepEqual(processesIn(spec.stateDir), []);
  }
});

test('without /proc a server that ignores SIGTERM is killed', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 300 });
  await callOnDarwin<Instance>(t, 'start', spec);
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'killed');
  assert.deepEqual(processesIn(spec.stateDir), []);
});

test('without /proc the survivors of a crashed server are unhealthy, and the next start ends them', async (t) => {
  const spec = await nodeSpec(t, { child: 'stay' });
  const { pid } = await callOnDarwin<Instance>(t, 'start', spec);
  const child = killAfter(t, Number((await logged(new ProcessManager(spec).spec.logFile, /child (\d+)/))[1]));
  process.kill(pid, 'SIGKILL');
  await eventually('the process has ended', () => !isRunning(pid));
  assert.equal((await callOnDarwin<Status>(t, 'status', spec)).state, 'unhealthy');
  const next = await callOnDarwin<Instance>(t, 'start', spec);
  assert.deepEqual([next.reused, isRunning(child)], [false, false]);
});

test('without /proc a stop does not wait for a zombie', async (t) => {
  const spec = await redisSpec(t, { stopTimeoutMs: 60_000 });
  const parent = startProgram(t, 'python3', [plainFixture('negligent-parent.py'), ...oneCallCommand('start', spec)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await parent.printed(/left to me/);
  const pid = Number(readFileSync(join(spec.stateDir, 'redis.pid'), 'utf8').split('\n')[0]);
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
  assert.equal(stateOf(pid), 'Z', 'this is a test of zombies');
  assert.equal((await callOnDarwin<Status>(t, 'status', spec)).state, 'stopped');
});

test('without /proc a server without its lock file is unhealthy, and a stop ends it', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await callOnDarwin<Instance>(t, 'start', spec);
  rmSync(join(spec.stateDir, 'redis.lock'));
  const status = await callOnDarwin<Status>(t, 'status', spec);
  assert.deepEqual([status.state, status.pid], ['unhealthy', pid]);
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
});

test('without /proc a process without checks that ends within 100 ms was never ready', async (t) => {
  await assertNeverReady(t, sleepSpec(t), onDarwin);
});

test('a path with a space and letters beyond ASCII reaches lsof(1) unchanged', async (t) => {
  const path = join(temporaryFolder(t), 'größe x.lock');
  using lock = acquireLock(path);
  assert.deepEqual(
    portable.carriers(path).map(({ process: { pid }, fd }) => [pid, fd]),
    [[process.pid, lock.fd]],
  );
  assert.equal(isLocked(path), true);
});
