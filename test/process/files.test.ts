import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { type JournalEntry, journalEntries } from '../helpers/journal.js';
import { isRunning, processesIn } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const permissions = (path: string) => (statSync(path).mode & 0o7777).toString(8);

const LIMIT = 10 * 1024 * 1024;

test('files get mode 0600 and folders 0700, whatever the umask', async (t) => {
  const umask = process.umask(0);
  t.after(() => process.umask(umask));
  const spec = await redisSpec(t);
  const manager = new ProcessManager({ ...spec, dataDirs: [join(spec.stateDir, 'data/deep')] });
  await manager.start();
  for (const folder of ['.', 'logs', 'data', 'data/deep'])
    assert.equal(permissions(join(spec.stateDir, folder)), '700', folder);
  for (const file of ['redis.lock', 'redis.pid', 'redis.journal', 'logs/redis.log'])
    assert.equal(permissions(join(spec.stateDir, file)), '600', file);
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

test('a run leaves only the documented files in the state folder', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  await manager.start();
  const stopped = ['logs', 'redis.journal', 'redis.lock'];
  const running = [...stopped, 'redis.pid'];
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), running);
  await manager.stop();
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), stopped);
  await manager.start();
  for (let round = 0; round < 3; round += 1) await manager.restart();
  assert.deepEqual(readdirSync(manager.spec.stateDir).sort(), running);
});

test('the journal has a line for each event, with the exact identity of the process', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid, startedAt } = await manager.start();
  await manager.stop();
  await manager.stop();
  await eventually('the exit is in the journal', () => journalEntries(spec, 'exit').length === 1);
  const names = journalEntries(spec).map(({ event }) => event);
  assert.deepEqual(
    names.filter((name) => name !== 'exit'),
    ['start', 'spawn', 'ready', 'stop', 'stopped', 'stop', 'stopped'],
  );
  assert.ok(journalEntries(spec).every(({ by }) => by === process.pid));
  const [spawn] = journalEntries(spec, 'spawn') as [JournalEntry];
  assert.deepEqual([spawn.pid, spawn.fd, spawn.session, spawn.at], [pid, 3, pid, startedAt.toISOString()]);
  const [exit] = journalEntries(spec, 'exit') as [JournalEntry];
  assert.deepEqual([exit.pid, exit.exitCode, exit.signal], [pid, 0, null]);
  assert.deepEqual(
    journalEntries(spec, 'stopped').map(({ outcome }) => outcome),
    ['stopped', 'not-running'],
  );
});

test('the lock file holds the PID of the process while it runs, and nothing after a stop', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { lockFile } = manager.spec;
  const { pid } = await manager.start();
  assert.equal(readFileSync(lockFile, 'utf8'), `${pid}\n`);
  await manager.stop();
  assert.equal(readFileSync(lockFile, 'utf8'), '');
});

for (const [what, prepare] of Object.entries({
  'with other text in it': (lockFile: string) => writeFileSync(lockFile, 'hello\n'),
  'that names a living process of another tool': (lockFile: string) => writeFileSync(lockFile, `${process.ppid}\n`),
  'that has a second name': (lockFile: string) => {
    writeFileSync(lockFile, '');
    linkSync(lockFile, `${lockFile}.too`);
  },
})) {
  test(`a lock file ${what} is locked and not written into`, async (t) => {
    const manager = new ProcessManager(await redisSpec(t));
    const { lockFile, stateDir } = manager.spec;
    mkdirSync(stateDir, { mode: 0o700 });
    prepare(lockFile);
    const before = readFileSync(lockFile, 'utf8');
    await manager.start();
    assert.equal(isLocked(lockFile), true);
    assert.equal(readFileSync(lockFile, 'utf8'), before);
    await manager.stop();
    assert.equal(readFileSync(lockFile, 'utf8'), before);
  });
}

test('a PID file that names a living process of another tool is neither replaced nor removed', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pidFile, stateDir } = manager.spec;
  const stranger = startProgram(t, 'sleep', ['300']);
  mkdirSync(stateDir, { mode: 0o700 });
  writeFileSync(pidFile, `${stranger.pid}\n`);
  const { pid } = await manager.start();
  assert.equal(readFileSync(pidFile, 'utf8'), `${stranger.pid}\n`);
  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([state, found, checks.pidFile], ['running', pid, false]);
  const failing = new ProcessManager({ ...manager.spec, name: 'redis', command: 'no-such-command' });
  await manager.stop();
  assert.equal(readFileSync(pidFile, 'utf8'), `${stranger.pid}\n`);
  await assert.rejects(failing.start(), { code: 'ERR_COMMAND_NOT_FOUND' });
  assert.equal(readFileSync(pidFile, 'utf8'), `${stranger.pid}\n`);
  assert.equal(stranger.isAlive, true);
  stranger.kill();
  await stranger.ended();
  await manager.start();
  assert.match(readFileSync(pidFile, 'utf8'), /^\d+\nredis-server\n\d+\n$/);
});

test('a stop of a process that never ran creates nothing, whether the state folder exists or not', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(existsSync(manager.spec.stateDir), false);
  mkdirSync(manager.spec.stateDir);
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.deepEqual(readdirSync(manager.spec.stateDir), []);
});

test('each start appends to the log of the one before', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { logFile } = manager.spec;
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, 'from before\n');
  await manager.start();
  await manager.restart();
  const logText = readFileSync(logFile, 'utf8');
  assert.ok(logText.startsWith('from before\n'));
  assert.equal(logText.match(/Redis is starting/g)?.length, 2);
  assert.equal(existsSync(`${logFile}.1`), false);
});

test('a start renames a log of just over 10 MiB to .1, in the place of the older one', async (t) => {
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

test('a log of 10 MiB stays where it is', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { logFile } = manager.spec;
  mkdirSync(dirname(logFile), { recursive: true });
  writeFileSync(logFile, '');
  truncateSync(logFile, LIMIT);
  await manager.start();
  assert.ok(statSync(logFile).size > LIMIT);
  assert.equal(existsSync(`${logFile}.1`), false);
});

test('lockFile, pidFile and logFile may be anywhere, and the journal is beside the lock file', async (t) => {
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
    'l/my.journal',
    'l/my.lock',
    'p',
  ]);
  assert.equal(existsSync(manager.spec.stateDir), false, 'nothing needed the state folder');
});

test('a lock file without the ending .lock has its journal beside it, too', async (t) => {
  const folder = temporaryFolder(t);
  const manager = new ProcessManager(await redisSpec(t, { lockFile: join(folder, 'guard') }));
  await manager.start();
  await manager.stop();
  assert.deepEqual(readdirSync(folder).sort(), ['guard', 'guard.journal']);
});

test('with logFile /dev/null the process runs, and logTail() gives no lines', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { logFile: '/dev/null' }));
  await manager.start();
  assert.deepEqual(await manager.logTail(), []);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(statSync('/dev/null').isCharacterDevice(), true);
  assert.equal(existsSync('/dev/null.1'), false);
});

test('dataDirs are created under the lock, and existing ones stay as they are', async (t) => {
  const folder = temporaryFolder(t);
  const dataDirs = [join(folder, 'there'), join(folder, 'new/deep'), join(folder, 'there')];
  mkdirSync(join(folder, 'there'), { mode: 0o755 });
  const manager = new ProcessManager(await redisSpec(t, { dataDirs }));
  await manager.start();
  assert.deepEqual(dataDirs.map(permissions), ['755', '700', '755']);
});

test('a process whose PID file cannot be written is still started, found and stopped', async (t) => {
  const folder = temporaryFolder(t);
  const manager = new ProcessManager(await redisSpec(t, { pidFile: join(folder, 'taken') }));
  mkdirSync(join(folder, 'taken/in'), { recursive: true });
  const { pid } = await manager.start();
  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([state, found, checks.pidFile, checks.identity], ['running', pid, false, true]);
  assert.deepEqual(readdirSync(folder), ['taken'], 'no draft is left');
  assert.equal((await manager.start()).pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunning(pid), false);
  assert.deepEqual(processesIn(manager.spec.stateDir), []);
});

test('the working directory may be one of the dataDirs, which are made after prepare()', async (t) => {
  const dataDir = join(temporaryFolder(t), 'data/deep');
  const seen: unknown[] = [];
  const prepare = () => void seen.push(existsSync(dataDir));
  const spec = await redisSpec(t);
  await new ProcessManager({ ...spec, dataDirs: [dataDir], cwd: dataDir, prepare }).start();
  assert.deepEqual([seen, existsSync(dataDir)], [[false], true]);
  rmSync(dataDir, { recursive: true });
  const moved: ProcessSpec = { ...spec, dataDirs: [`${dataDir}/er`], cwd: `${dataDir}/er`, whenDifferent: 'restart' };
  assert.equal((await new ProcessManager(moved).start()).reused, false);
});
