/** Starts on a system that has run out of a resource, or that denies access to this user. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ProcessManager, type StopResult } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { journalFile } from '../helpers/journal.js';
import { asNobody, callElsewhere, unlessCapable, unlessRoot } from '../helpers/one-call.js';
import { assertNothingLeft, isRunning, processesIn, snapshot } from '../helpers/outside-view.js';
import { startPowerlessManager } from '../helpers/powerless.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';

type Test = Parameters<typeof redisSpec>[0];

const REFUSALS = ['SpawnError', 'LockUnavailableError', 'StateFileError'];

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Runs as the user of that process: to limit the process of another user takes a privilege that containers rarely give. */
function limitProcesses(pid: number, limit: number): void {
  const [uid, gid] = [`--reuid=${asNobody.uid}`, `--regid=${asNobody.gid}`];
  run('setpriv', uid, gid, '--clear-groups', 'prlimit', '--pid', String(pid), `--nproc=${limit}:`);
}

/** Makes the state folder a file system of its own, with these mount options. */
async function specOnTmpfs(t: Test, options: string) {
  const spec = await redisSpec({ after: () => undefined });
  t.after(async () => {
    // A full disk keeps a stop from writing its line, and the stop ends the process all the same.
    await new ProcessManager(spec).stop().catch((error: Error) => assert.equal(error.name, 'StateFileError'));
    run('umount', spec.stateDir);
    rmSync(dirname(spec.stateDir), { recursive: true });
  });
  mkdirSync(spec.stateDir);
  run('mount', '-t', 'tmpfs', '-o', options, 'none', spec.stateDir);
  return spec;
}

/**
 * Fills the file system to the last byte. Space is given by the page, so the last page of each of these files is
 * filled, too.
 */
function fillDisk(folder: string, ...begun: string[]): string {
  const ballast = join(folder, 'ballast');
  assert.throws(() => writeFileSync(ballast, Buffer.alloc(1 << 20)), { code: 'ENOSPC' });
  for (const file of begun) appendFileSync(file, '\n'.repeat(4096 - (statSync(file).size % 4096)));
  return ballast;
}

test('a start on a full disk fails with StateFileError, and nothing runs', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = await specOnTmpfs(t, 'size=64k');
  const ballast = fillDisk(spec.stateDir);
  const manager = new ProcessManager(spec);
  await assert.rejects(manager.start(), { name: 'StateFileError', code: 'ERR_STATE_FILE', message: /ENOSPC/ });
  assertNothingLeft(spec);
  assert.deepEqual(readdirSync(spec.stateDir).sort(), ['ballast', 'redis.lock']);
  rmSync(ballast);
  await manager.start();
  assert.equal((await manager.stop()).outcome, 'stopped');
});

test('when the disk has become full the process is found, and a stop ends it and then throws StateFileError', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = await specOnTmpfs(t, 'size=64k');
  const manager = new ProcessManager({ ...spec, logFile: '/dev/null' });
  const { pid } = await manager.start();
  fillDisk(spec.stateDir, journalFile(spec));
  const { state, pid: found } = await manager.status();
  assert.deepEqual([state, found], ['running', pid]);
  assert.equal((await manager.start()).pid, pid);
  await assert.rejects(manager.stop(), { name: 'StateFileError', path: journalFile(spec), message: /ENOSPC/ });
  assert.equal(isRunning(pid), false);
  assert.equal((await manager.status()).state, 'stopped');
});

test('a restart that fails on a full disk leaves the process running, and leaves no file', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = await specOnTmpfs(t, 'size=64k');
  const manager = new ProcessManager({ ...spec, logFile: '/dev/null' });
  const { pid } = await manager.start();
  fillDisk(spec.stateDir, journalFile(spec));
  const before = readdirSync(spec.stateDir);
  await assert.rejects(manager.restart(), { name: 'StateFileError', message: /ENOSPC/ });
  assert.deepEqual(readdirSync(spec.stateDir), before);
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
});

for (const inodes of [1, 2, 3, 4, 5, 6]) {
  test(`on a disk with room for ${inodes} files a start works or is refused, and leaves nothing behind`, {
    skip: unlessRoot,
  }, async (t) => {
    const spec = await specOnTmpfs(t, `size=1m,nr_inodes=${inodes}`);
    const manager = new ProcessManager(spec);
    const outcome = await manager.start().catch((error: Error) => error);
    if (outcome instanceof Error) {
      assert.ok(REFUSALS.includes(outcome.name), String(outcome));
      assert.match(outcome.message, /ENOSPC/);
      assertNothingLeft(spec);
    } else {
      assert.equal((await manager.status()).state, 'running');
      await manager.stop().catch((error: Error) => assert.equal(error.name, 'StateFileError'));
      assert.equal(isRunning(outcome.pid), false);
    }
    assert.equal(
      outcome instanceof Error,
      inodes < 5,
      'the root folder, the lock, the journal, logs/ and the log are needed',
    );
  });
}

test('a start without enough descriptors is refused, whichever descriptor is the first one too many, and leaves nothing behind', async (t) => {
  const { port: _, ...spec } = await redisSpec(t);
  const remote = await startRemoteManager(t, spec);
  const { pid } = remote.program;
  await remote.start(); // The first start loads what is only loaded when it is needed.
  await remote.stop();
  const highest = Math.max(...readdirSync(`/proc/${pid}/fd`).map(Number));
  const refused: string[] = [];
  for (let limit = 4; ; limit += 1) {
    run('prlimit', '--pid', String(pid), `--nofile=${limit}:`);
    const outcome = await remote.start().catch((error: Error) => error);
    if (!(outcome instanceof Error)) break;
    assert.ok(REFUSALS.includes(outcome.name), `${limit}: ${outcome}`);
    assert.match(outcome.message, /EMFILE/);
    assert.deepEqual(processesIn(spec.stateDir), [], String(limit));
    assert.equal(existsSync(join(spec.stateDir, 'redis.pid')), false);
    refused.push(outcome.name);
    assert.ok(limit < highest + 40, 'it never starts');
  }
  assert.ok(refused.length > 5, refused.join());
  assert.equal((await new ProcessManager(spec).stop()).outcome, 'stopped');
});

test('a start at the process limit of its user fails with SpawnError and EAGAIN, and the next start works', {
  skip: unlessRoot,
}, async (t) => {
  const { port: _, ...spec } = await redisSpec(t);
  chmodSync(dirname(spec.stateDir), 0o777);
  const remote = await startRemoteManager(t, spec, asNobody);
  limitProcesses(remote.program.pid, 1);
  await assert.rejects(remote.start(), { name: 'SpawnError', code: 'ERR_SPAWN', message: /EAGAIN/ });
  assertNothingLeft(spec);
  limitProcesses(remote.program.pid, 1_000);
  const { pid } = await remote.start();
  assert.equal(isRunning(pid), true);
  assert.equal((await remote.stop()).outcome, 'stopped');
});

test('a start in a read-only state folder fails with LockUnavailableError, and nothing in the folder changes', {
  skip: unlessRoot,
}, async (t) => {
  const spec = await redisSpec(t);
  mkdirSync(spec.stateDir, { mode: 0o755 });
  for (const folder of [dirname(spec.stateDir), spec.stateDir]) chmodSync(folder, 0o755);
  const before = snapshot(spec.stateDir);
  await assert.rejects(callElsewhere(t, 'start', spec, asNobody), { name: 'LockUnavailableError', message: /EACCES/ });
  assert.equal((await callElsewhere<{ state: string }>(t, 'status', spec, asNobody)).state, 'stopped');
  assert.equal((await callElsewhere<StopResult>(t, 'stop', spec, asNobody)).outcome, 'not-running');
  assert.deepEqual(snapshot(spec.stateDir), before);
});

test('without search permission for the state folder status(), isRunning() and stop() throw LockUnavailableError, and start() is refused', {
  skip: unlessRoot,
}, async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  chmodSync(dirname(spec.stateDir), 0o755);
  for (const method of ['status', 'isRunning', 'stop'] as const) {
    await assert.rejects(callElsewhere(t, method, spec, asNobody), { name: 'LockUnavailableError', message: /EACCES/ });
  }
  await assert.rejects(callElsewhere(t, 'start', spec, asNobody), (error: Error) => REFUSALS.includes(error.name));
  assert.deepEqual(await callElsewhere(t, 'logTail', spec, asNobody), []);
  assert.equal(isRunning(pid), true);
});

test('a lock file that is no regular file causes LockUnavailableError, and stays as it is', async (t) => {
  const folder = temporaryFolder(t);
  const spec = await redisSpec(t);
  const target = join(folder, 'target');
  writeFileSync(target, 'kept');
  mkdirSync(join(folder, 'folder'));
  symlinkSync(target, join(folder, 'link'));
  run('mkfifo', join(folder, 'fifo'));
  const before = snapshot(folder);
  for (const name of ['folder', 'link', 'fifo']) {
    const manager = new ProcessManager({ ...spec, lockFile: join(folder, name) });
    for (const call of [() => manager.start(), () => manager.status(), () => manager.isRunning()]) {
      await assert.rejects(call, { name: 'LockUnavailableError', path: join(folder, name) }, name);
    }
  }
  for (const lockFile of ['/proc/x/y.lock', '/proc/self/x.lock', '/dev/null/x.lock']) {
    const start = new ProcessManager({ ...spec, lockFile }).start();
    await assert.rejects(start, (error: Error) => REFUSALS.includes(error.name), lockFile);
  }
  const after = snapshot(folder);
  for (const name of ['folder', 'link', 'fifo', 'target']) assert.equal(after[name], before[name], name);
  assert.equal(readFileSync(target, 'utf8'), 'kept');
  assert.deepEqual(processesIn(spec.stateDir), []);
});

test('start() works with a lock file of another user that everybody may write to', { skip: unlessRoot }, async (t) => {
  const spec = sleepSpec(t);
  const { lockFile } = new ProcessManager(spec).spec;
  mkdirSync(spec.stateDir);
  writeFileSync(lockFile, '');
  chownSync(lockFile, asNobody.uid, asNobody.gid);
  chmodSync(lockFile, 0o666);
  const manager = await startPowerlessManager(t, spec);
  const { pid } = await manager.start();
  killAfter(t, pid);
  assert.equal((await manager.status()).pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(pid), false);
});
