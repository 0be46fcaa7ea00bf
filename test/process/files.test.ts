import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { isLocked, ProcessManager } from '../../src/index.js';
import { isRunning, processesIn } from '../helpers/outside-view.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';

const permissions = (path: string) => (statSync(path).mode & 0o7777).toString(8);

const LIMIT = 10 * 1024 * 1024;

test('files are made with mode 0600 and folders with 0700, whatever the umask', async (t) => {
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const spec = await redisSpec(t);
  const manager = new ProcessManager({ ...spec, dataDirs: [join(spec.stateDir, 'data/deep')] });
  await manager.start();
  for (const folder of ['.', 'logs', 'data', 'data/deep'])
    assert.equal(permissions(join(spec.stateDir, folder)), '700', folder);
  for (const file of ['redis.lock', 'redis.pid', 'logs/redis.log'])
    assert.equal(permissions(join(spec.stateDir, file)), '600', file);
  await manager.stop();
  assert.equal(permissions(join(spec.stateDir, 'redis.down')), '600');
});

test('the PID file has three lines: PID, command name, start time', async (t) => {
  const manager = new ProcessManager(await nodeSpec(t));
  const before = Date.now() / 1000;
  const { pid } = await manager.start();
  const after = Date.now() / 1000;
  const text = readFileSync(manager.spec.pidFile, 'utf8');
  const [first, second, third, ...rest] = text.split('\n');
  assert.deepEqual([first, second, rest], [String(pid), basename(process.execPath), ['']]);
  assert.match(String(third), /^\d+$/);
  assert.ok(Number(third) >= before - 2 && Number(third) <= after + 2, `${third} is not in ${before}..${after}`);
});

test('a run leaves nothing in the state folder but its own few files', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), ['logs', 'redis.lock', 'redis.pid']);
  await manager.stop();
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), ['logs', 'redis.down', 'redis.lock']);
  await manager.start();
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), ['logs', 'redis.down.past', 'redis.lock', 'redis.pid']);
  for (let round = 0; round < 3; round += 1) await manager.restart();
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), ['logs', 'redis.down.past', 'redis.lock', 'redis.pid']);
});

test("a start sets the lock file's time, and reuse does not", async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { lockFile, stateDir } = manager.spec;
  mkdirSync(stateDir, { mode: 0o700 });
  writeFileSync(lockFile, '', { mode: 0o600 });
  utimesSync(lockFile, 1_000_000, 1_000_000);
  const before = Date.now();
  await manager.start();
  const { mtimeMs, size } = statSync(lockFile);
  assert.ok(mtimeMs >= before - 10 && mtimeMs <= Date.now() + 10, `${mtimeMs} is not the time of the start`);
  assert.equal(size, 0);
  await manager.start();
  assert.equal(statSync(lockFile).mtimeMs, mtimeMs);
});

test('a stop makes NAME.down, empty, and a start clears it', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const mark = join(manager.spec.stateDir, 'redis.down');
  await manager.start();
  assert.equal(existsSync(mark), false);
  await manager.stop();
  assert.equal(readFileSync(mark, 'utf8'), '');
  const { ino, mtimeMs } = statSync(mark);
  assert.deepEqual(await manager.stop(), { outcome: 'not-running' });
  assert.equal(statSync(mark).ino, ino);
  assert.ok(statSync(mark).mtimeMs > mtimeMs, 'each stop makes another mark of it');
  await manager.start();
  assert.equal(existsSync(mark), false);
});

test('a stop when nothing ever ran makes nothing, be the state folder there or not', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  assert.deepEqual(await manager.stop(), { outcome: 'not-running' });
  assert.equal(existsSync(manager.spec.stateDir), false);
  mkdirSync(manager.spec.stateDir);
  assert.deepEqual(await manager.stop(), { outcome: 'not-running' });
  assert.deepEqual(readdirSync(manager.spec.stateDir), []);
});

test('the log is appended to from one start to the next', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { logFile } = manager.spec;
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, 'from before\n');
  await manager.start();
  await manager.restart();
  const log = readFileSync(logFile, 'utf8');
  assert.ok(log.startsWith('from before\n'));
  assert.equal(log.match(/Redis is starting/g)?.length, 2);
  assert.equal(existsSync(`${logFile}.1`), false);
});

test('a log of just over 10 MB is moved to .1 at a start, over the one that was there', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { logFile } = manager.spec;
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(`${logFile}.1`, 'oldest');
  writeFileSync(logFile, '');
  truncateSync(logFile, LIMIT + 1);
  await manager.start();
  assert.equal(statSync(`${logFile}.1`).size, LIMIT + 1);
  assert.match(readFileSync(logFile, 'utf8'), /^\d+:C .*Redis is starting/);
});

test('a log of 10 MB stays where it is', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { logFile } = manager.spec;
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, '');
  truncateSync(logFile, LIMIT);
  await manager.start();
  assert.ok(statSync(logFile).size > LIMIT);
  assert.equal(existsSync(`${logFile}.1`), false);
});

test('lockFile, pidFile and logFile may lie anywhere, and the mark beside the lock file', async (t) => {
  const folder = temporaryFolder(t);
  const files = {
    lockFile: join(folder, 'l/my.lock'),
    pidFile: join(folder, 'p/my-pid'),
    logFile: join(folder, 'g/my.txt'),
  };
  const port = await freePort();
  const args = ['--port', String(port), '--save', '', '--dir', folder];
  const manager = new ProcessManager(await redisSpec(t, { ...files, args, port }));
  const { pid } = await manager.start();
  assert.equal(isLocked(files.lockFile), true);
  assert.match(readFileSync(files.pidFile, 'utf8'), new RegExp(`^${pid}\n`));
  assert.match(readFileSync(files.logFile, 'utf8'), /Redis is starting/);
  assert.equal((await manager.status()).checks.pidFile, true);
  await manager.stop();
  assert.deepEqual(readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort(), [
    'g',
    'g/my.txt',
    'l',
    'l/my.down',
    'l/my.lock',
    'p',
  ]);
  assert.equal(existsSync(manager.spec.stateDir), false, 'nothing needed the state folder');
});

test('a lock file without the ending .lock has its mark beside it too', async (t) => {
  const folder = temporaryFolder(t);
  const manager = new ProcessManager(await redisSpec(t, { lockFile: join(folder, 'guard') }));
  await manager.start();
  await manager.stop();
  assert.deepEqual(readdirSync(folder).sort(), ['guard', 'guard.down']);
});

test('logFile may be /dev/null: it runs, and there are no lines', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { logFile: '/dev/null' }));
  await manager.start();
  assert.deepEqual(await manager.logTail(), []);
  assert.deepEqual(await manager.stop(), { outcome: 'stopped' });
  assert.equal(statSync('/dev/null').isCharacterDevice(), true);
  assert.equal(existsSync('/dev/null.1'), false);
});

test('dataDirs are made under the lock, and existing ones are left alone', async (t) => {
  const folder = temporaryFolder(t);
  const dataDirs = [join(folder, 'there'), join(folder, 'new/deep'), join(folder, 'there')];
  mkdirSync(join(folder, 'there'), { mode: 0o755 });
  const manager = new ProcessManager(await redisSpec(t, { dataDirs }));
  await manager.start();
  assert.deepEqual(dataDirs.map(permissions), ['755', '700', '755']);
});

test('a PID file that cannot be written costs nothing: started, found, stopped', async (t) => {
  const folder = temporaryFolder(t);
  const manager = new ProcessManager(await redisSpec(t, { pidFile: join(folder, 'taken') }));
  mkdirSync(join(folder, 'taken/in'), { recursive: true });
  const { pid } = await manager.start();
  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([state, found, checks.pidFile, checks.identity], ['running', pid, false, true]);
  assert.deepEqual(readdirSync(folder), ['taken'], 'no draft is left');
  assert.equal((await manager.start()).pid, pid);
  assert.deepEqual(await manager.stop(), { outcome: 'stopped' });
  assert.equal(isRunning(pid), false);
  assert.deepEqual(processesIn(manager.spec.stateDir), []);
});
