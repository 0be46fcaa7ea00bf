import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, lockHolders, ProcessManager } from '../../src/index.js';
import { isAlive, type ProcessInfo, processTable } from '../../src/system/process-table.js';
import { stateOf } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const table = () => processTable();

const ascending = (one: number, other: number) => one - other;

function lookUp(pid: number): ProcessInfo {
  const found = table().lookUp(pid);
  assert.ok(found !== undefined, `PID ${pid}`);
  return found;
}

test('the start time is right to 2 s, and the age to 0.1 s', async (t) => {
  const before = Date.now();
  const { pid } = startProgram(t, 'sleep', ['300']);
  const after = Date.now();
  const found = lookUp(pid);
  const startTime = table().startTime(found) * 1000;
  assert.ok(startTime >= before - 2_000 && startTime <= after + 2_000, `${startTime}, not in ${before}..${after}`);
  const age = table().age(found);
  assert.ok(age >= 0 && age <= Date.now() - before + 100, String(age));
});

test('parent, group and session are those of the process', (t) => {
  const ours = lookUp(process.pid);
  const same = lookUp(startProgram(t, 'sleep', ['300']).pid);
  assert.deepEqual([same.parentPid, same.groupId, same.sessionId], [process.pid, ours.groupId, ours.sessionId]);
  const { pid } = startProgram(t, 'sleep', ['300'], { detached: true });
  const own = lookUp(pid);
  assert.deepEqual([own.groupId, own.sessionId, own.isZombie, own.isSuspended], [pid, pid, false, false]);
});

test('the look-up of a number that is no PID finds no process', () => {
  for (const pid of [0, -1, 1.5, Number.NaN, 2 ** 31 - 1, 2 ** 40])
    assert.equal(table().lookUp(pid), undefined, String(pid));
});

test('a zombie is reported as a zombie and not alive, and a suspended process is alive', async (t) => {
  const parent = startProgram(t, 'python3', [
    '-c',
    'import os,time\nprint(os.fork() or os._exit(0), flush=True)\ntime.sleep(300)',
  ]);
  const pid = Number((await parent.printed(/(\d+)\n/))[1]);
  const zombie = await eventually('the killed process is a zombie', () => {
    const found = table().lookUp(pid);
    return found?.isZombie ? found : undefined;
  });
  assert.equal(isAlive(zombie), false);
  parent.kill('SIGSTOP');
  const suspended = await eventually('the process is suspended', () => {
    const found = table().lookUp(parent.pid);
    return found?.isSuspended ? found : undefined;
  });
  assert.equal(isAlive(suspended), true);
  assert.equal(isAlive({ ...suspended, startKey: '1' }), false, 'another start time is another process');
});

test('a process whose first thread has ended is exiting, and is no zombie before its last thread has ended', async (t) => {
  const folder = temporaryFolder(t);
  const { pid } = startProgram(t, 'python3', [plainFixture('asked-to-end.py'), folder]);
  await eventually('the process is up', () => existsSync(join(folder, 'up')));
  assert.equal(lookUp(pid).isExiting, false);
  writeFileSync(join(folder, 'end-main'), '');
  await eventually('the first thread of the process has ended', () => stateOf(pid) === 'Z');
  assert.deepEqual([lookUp(pid).isZombie, lookUp(pid).isExiting], [false, true]);
});

test('the entry of a process whose name has spaces and parentheses is read correctly', async (t) => {
  const program = startProgram(t, process.execPath, [
    '-e',
    'process.title = ") R 1 ("; console.log("named"); setInterval(() => 0, 1 << 30)',
  ]);
  await program.printed(/named/);
  assert.equal(lookUp(program.pid).parentPid, process.pid);
});

test('the names of redis, which sets its own title, of Python and of Node are found', async (t) => {
  for (const [spec, name] of [
    [await redisSpec(t), 'redis-server'],
    [await pythonSpec(t), 'python3'],
    [await nodeSpec(t), 'node'],
  ] as const) {
    const { pid } = await new ProcessManager(spec).start();
    const names = table().commandNames(pid);
    assert.ok(names.includes(name), `${name} in ${names.join()}`);
  }
});

test('a name with a colon after it, as nginx has, is found without the colon', async (t) => {
  const program = startProgram(t, process.execPath, [
    '-e',
    'process.title = "nginx: master process /usr/sbin/nginx"; console.log("named"); setInterval(() => 0, 1 << 30)',
  ]);
  await program.printed(/named/);
  assert.ok(table().commandNames(program.pid).includes('nginx'));
  assert.deepEqual(table().commandNames(2 ** 31 - 1), []);
});

test('carriers are those that have or inherited the lock, and not those that probe, wait, share or merely have the file open', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const lock = acquireLock(path);
  t.after(() => lock.release());
  const pids = () =>
    table()
      .carriers(path)
      .map(({ process: { pid } }) => pid)
      .sort(ascending);
  assert.deepEqual(
    table()
      .carriers(path)
      .map(({ fd, isOpenedByUs }) => [fd, isOpenedByUs]),
    [[lock.fd, true]],
  );

  const heir = spawn('sleep', ['300'], { stdio: ['ignore', 'ignore', 'ignore', lock.fd] });
  const heirPid = killAfter(t, heir.pid as number);
  const onlooker = openSync(path, 'r+');
  t.after(() => closeSync(onlooker));
  const reader = spawn('sleep', ['300'], { stdio: ['ignore', 'ignore', 'ignore', onlooker] });
  killAfter(t, reader.pid as number);
  const waiter = startProgram(t, 'flock', ['-x', path, 'true']);
  await eventually('flock(1) waits for the lock', () => / -> FLOCK/.test(readFileSync('/proc/locks', 'latin1')));
  assert.deepEqual(pids(), [process.pid, heirPid].sort(ascending));
  assert.equal(table().carries(heirPid, 3, path), true);
  assert.equal(table().carries(reader.pid as number, 3, path), false);
  assert.equal(table().carries(heirPid, 0, path), false);
  assert.deepEqual(await lockHolders(path), [process.pid, heirPid].sort(ascending));

  lock.handOver();
  assert.deepEqual(pids(), [heirPid]);
  heir.kill('SIGKILL');
  await waiter.ended();
  assert.deepEqual(pids(), []);
});

test('the holder of a shared lock is no carrier', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  acquireLock(path).release();
  const sharer = startProgram(t, 'flock', ['-s', '--no-fork', path, 'sleep', '300']);
  await eventually('the process holds the shared lock', () => hasLock(sharer.pid, 3));
  assert.deepEqual(table().carriers(path), []);
});

/** Whether the kernel lists a lock of any kind at this descriptor. */
function hasLock(pid: number, fd: number): boolean {
  try {
    return /^lock:/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'));
  } catch {
    return false; // ENOENT: the descriptor is not open yet.
  }
}

test('a carrier that forks and exits all the time is never missed', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  writeFileSync(path, '');
  const chain = startProgram(t, 'perl', [plainFixture('fork-chain.pl'), path]);
  await chain.printed(/locked/);
  let missed = 0;
  for (let look = 0; look < 100; look += 1) if (table().carriers(path).length === 0) missed += 1;
  assert.equal(missed, 0);
  rmSync(path);
});
