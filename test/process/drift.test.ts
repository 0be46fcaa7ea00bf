/** The running process was started with another spec. start() names, refuses or replaces it, and all other calls work. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Instance, OptionsMismatchError, ProcessManager, type ProcessSpec, type Status } from '../../src/index.js';
import { WATCHED_FD } from '../../src/inspect/watcher.js';
import { journalEntries, journalFile } from '../helpers/journal.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { callElsewhere } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { descriptorsOf, startOwner, watcherOf } from '../helpers/tied.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';
import { accepts, witnessedServer } from '../helpers/witness.js';

const environmentOf = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');

/** Asks for the differences in both ways: with a start() and a status(), each in a process of its own. */
async function differencesFor(t: TestContext, spec: ProcessSpec): Promise<readonly string[]> {
  const { reused, differences } = await callElsewhere<Instance>(t, 'start', spec);
  assert.equal(reused, true);
  assert.deepEqual((await callElsewhere<Status>(t, 'status', spec)).differences, differences);
  return differences;
}

test('start() and status() name each field that differs, and none for an equal spec', async (t) => {
  const spec = await nodeSpec(t, {}, { env: { COLOUR: 'red', SHAPE: 'round' }, cwd: '/' });
  const { args = [], env } = spec;
  const first = await new ProcessManager(spec).start();
  assert.deepEqual(first.differences, []);
  const changes: [Partial<ProcessSpec>, string[]][] = [
    [{}, []],
    [{ env: { SHAPE: 'round', COLOUR: 'red' } }, []],
    [{ env: { ...env, GONE: undefined } }, ['env.GONE']],
    [{ startTimeoutMs: 20_000, isHealthy: () => true, stopSignal: 'SIGINT' }, []],
    [{ command: 'node' }, ['command']],
    [{ args: [...args, '--more=1'] }, ['args']],
    [{ args: [...args].reverse() }, ['args']],
    [{ cwd: '/tmp' }, ['cwd']],
    [{ env: { ...env, COLOUR: 'blue' } }, ['env.COLOUR']],
    [{ env: { COLOUR: 'red' } }, ['env.SHAPE']],
    [{ env: { ...env, SIZE: '' } }, ['env.SIZE']],
    [{ args, cwd: '/tmp', env: { SHAPE: 'square' } }, ['cwd', 'env.COLOUR', 'env.SHAPE']],
  ];
  for (const [change, expected] of changes) {
    const manager = new ProcessManager({ ...spec, ...change });
    const { pid, differences } = await manager.start();
    assert.equal(pid, first.pid);
    assert.deepEqual(differences, expected, JSON.stringify(change));
    assert.deepEqual((await manager.status()).differences, expected);
  }
  const { cwd: _, ...without } = spec;
  assert.deepEqual(await differencesFor(t, without), ['cwd']);
  await new ProcessManager(spec).stop();
  assert.deepEqual((await new ProcessManager({ ...spec, cwd: '/tmp' }).status()).differences, [], 'nothing runs');
});

test("after a restart only the fields of the new spec are compared, and without a cwd the caller's own folder is no difference", async (t) => {
  const spec = await redisSpec(t);
  const other = { ...spec, env: { NEW: 'yes' } };
  await callElsewhere<Instance>(t, 'start', spec, { cwd: '/' });
  assert.deepEqual(await differencesFor(t, other), ['env.NEW']);
  await new ProcessManager(other).restart();
  assert.deepEqual(await differencesFor(t, other), []);
  assert.deepEqual(await differencesFor(t, spec), ['env.NEW']);
});

/** A spec with a copy of sleep(1) that the test can upgrade. */
function upgradableSpec(t: TestContext): { spec: ProcessSpec; path: string; folder: string } {
  const folder = join(temporaryFolder(t), 'bin');
  mkdirSync(folder);
  const path = join(folder, 'napper');
  copyFileSync('/bin/sleep', path);
  return { spec: sleepSpec(t, { command: path }), path, folder };
}

test('an upgraded executable is named: another inode, another time, or another file on PATH', async (t) => {
  const { spec, path, folder } = upgradableSpec(t);
  const start = async (changed: ProcessSpec = spec) => (await new ProcessManager(changed).start()).differences;
  await start();
  assert.deepEqual(await start(), []);
  copyFileSync(path, `${path}.next`);
  const { atime, mtime } = statSync(path);
  utimesSync(`${path}.next`, atime, mtime);
  chmodSync(path, 0o700);
  assert.deepEqual(await start(), [], 'a file with another mode is the same file');
  renameSync(`${path}.next`, path);
  assert.deepEqual(await differencesFor(t, spec), ['executable']);
  await new ProcessManager(spec).restart();
  assert.deepEqual(await start(), []);
  utimesSync(path, atime, new Date(mtime.getTime() - 60_000));
  assert.deepEqual(await differencesFor(t, spec), ['executable']);
  // A file that is missing for a moment is not another file yet.
  renameSync(path, `${path}.away`);
  assert.deepEqual(await start(), []);
  renameSync(`${path}.away`, path);
  await new ProcessManager(spec).stop();
  const byName = (PATH: string) => ({ ...spec, command: 'napper', env: { PATH } });
  mkdirSync(join(folder, 'other'));
  copyFileSync(path, join(folder, 'other/napper'));
  await start(byName(folder));
  assert.deepEqual(await start(byName(`/nowhere:${folder}`)), ['env.PATH']);
  assert.deepEqual(await start(byName(`${join(folder, 'other')}:${folder}`)), ['env.PATH', 'executable']);
});

test('values of the environment are neither written into files nor given by history()', async (t) => {
  const secret = 'correct-horse-battery-staple';
  const spec = await redisSpec(t, { env: { TOKEN: secret, OTHER: `${secret}-2` }, whenDifferent: 'restart' });
  const manager = new ProcessManager(spec);
  await manager.start();
  await new ProcessManager({ ...spec, env: { TOKEN: `${secret}-3` } }).start();
  await assert.rejects(new ProcessManager({ ...spec, whenDifferent: 'refuse' }).start(), (error) => {
    assert.doesNotMatch(JSON.stringify([error, String(error)]), /correct|battery/);
    return true;
  });
  const names = readdirSync(spec.stateDir, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((name) => !name.endsWith('logs'))) {
    assert.doesNotMatch(readFileSync(join(spec.stateDir, name), 'utf8'), /correct|battery/, name);
  }
  const [first, second] = journalEntries(spec, 'spawn');
  const [before, after] = [first?.hashes, second?.hashes] as Record<string, string>[];
  assert.notEqual(first?.salt, second?.salt);
  assert.notEqual(before?.args, after?.args, 'the hash depends on the salt');
  const told = JSON.stringify(await manager.history());
  assert.doesNotMatch(told, /salt|hashes|correct|battery/);
});

test('an environment of thousands of variables is compared as a whole, and the process is still found', async (t) => {
  const many = Object.fromEntries(Array.from({ length: 2_000 }, (_, n) => [`VARIABLE_${n}`, String(n)]));
  const spec = await redisSpec(t, { env: many });
  const { pid } = await new ProcessManager(spec).start();
  assert.deepEqual(await differencesFor(t, { ...spec, env: { ...many } }), []);
  assert.deepEqual(await differencesFor(t, { ...spec, env: { ...many, VARIABLE_7: '8' } }), ['env']);
  assert.equal((await new ProcessManager(spec).status()).pid, pid);
});

test("whenDifferent 'refuse' throws an OptionsMismatchError that names the fields, and the process runs on", async (t) => {
  const spec = await redisSpec(t, { env: { LEVEL: '1' } });
  const { pid } = await new ProcessManager(spec).start();
  const other = new ProcessManager({ ...spec, env: { LEVEL: '2' }, cwd: '/', whenDifferent: 'refuse' });
  await assert.rejects(other.start(), (error) => {
    assert.ok(error instanceof OptionsMismatchError);
    assert.deepEqual([error.code, error.key], ['ERR_OPTIONS_MISMATCH', undefined]);
    assert.deepEqual(error.differences, ['cwd', 'env.LEVEL']);
    assert.match(error.message, new RegExp(`redis.*PID ${pid}.*"cwd", "env.LEVEL" differ`));
    return true;
  });
  assert.equal(isRunning(pid), true);
  assert.equal((await new ProcessManager({ ...spec, whenDifferent: 'refuse' }).start()).pid, pid, 'an equal spec');
});

test("whenDifferent 'restart' ends the process of the former spec as a restart() does, and returns the new one", async (t) => {
  const spec = await nodeSpec(t, {}, { env: { LEVEL: '1' }, whenDifferent: 'restart' });
  const first = await new ProcessManager(spec).start();
  assert.equal((await new ProcessManager(spec).start()).pid, first.pid, 'an equal spec');
  const second = await new ProcessManager({ ...spec, env: { LEVEL: '2' } }).start();
  assert.deepEqual([second.reused, second.differences], [false, []]);
  assert.equal(isRunning(first.pid), false);
  assert.ok(environmentOf(second.pid).includes('LEVEL=2'));
  assert.equal(journalEntries(spec, 'restart').length, 1);
  assert.equal(journalEntries(spec, 'abandon', 'stop').length, 0);
});

test("whenDifferent 'restart' replaces a process that hangs, too, without waiting for it", async (t) => {
  const spec = await nodeSpec(t, {}, { stopTimeoutMs: 500, checkTimeoutMs: 60_000, startTimeoutMs: 60_000 });
  const { pid } = await new ProcessManager(spec).start();
  process.kill(pid, 'SIGSTOP');
  const other = new ProcessManager({ ...spec, env: { LEVEL: '2' }, whenDifferent: 'restart' });
  const second = await other.start({ signal: AbortSignal.timeout(15_000) });
  assert.equal(second.reused, false);
  assert.equal(isRunning(pid), false);
});

test("whenDifferent 'restart' with the lifetime 'shared' throws a TypeError, and so does an unknown word", () => {
  const spec = { name: 'x', command: 'x', stateDir: '/nowhere' } as const;
  const make = (changes: object) => () => new ProcessManager({ ...spec, ...changes });
  assert.throws(make({ lifetime: 'shared', whenDifferent: 'restart' }), {
    name: 'TypeError',
    message: '"whenDifferent" must be "reuse" or "refuse" for the lifetime "shared", not "restart"',
  });
  assert.throws(make({ whenDifferent: 'ignore' }), {
    name: 'TypeError',
    message: '"whenDifferent" must be "reuse", "restart" or "refuse", not "ignore"',
  });
  assert.equal(make({ lifetime: 'tied', whenDifferent: 'restart' })().spec.whenDifferent, 'restart');
  assert.equal(make({ lifetime: 'shared' })().spec.whenDifferent, 'reuse');
});

test('several starts that find the process of a former spec restart it once, and return the same new process', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const server = await witnessedServer(t, { dieAfterMs: 20 }, { whenDifferent: 'restart' });
    await new ProcessManager(server.spec).start();
    const spec = { ...server.spec, env: { LEVEL: '2' } };
    const remotes = await Promise.all([1, 2, 3].map(() => startRemoteManager(t, spec)));
    const instances = await Promise.all(remotes.map((remote) => remote.start()));
    const [pid] = server.alive();
    assert.deepEqual(
      instances.map((instance) => [instance.pid, instance.differences]),
      remotes.map(() => [pid, []]),
    );
    assert.equal(server.pids().length, 2, 'one before, and one after');
    server.assertNeverTwo();
    assert.equal(instances.filter(({ reused }) => !reused).length, 1);
    await new ProcessManager(spec).stop();
  }
});

test('two starts with different specs side by side never run two processes, and the later one follows whenDifferent', async (t) => {
  for (const whenDifferent of ['reuse', 'refuse', 'restart'] as const) {
    const server = await witnessedServer(t, { listenAfterMs: 30 }, { whenDifferent });
    const specs = ['1', '2'].map((LEVEL) => ({ ...server.spec, env: { LEVEL } }));
    const remotes = await Promise.all(specs.map((spec) => startRemoteManager(t, spec)));
    const results = await Promise.allSettled(remotes.map((remote) => remote.start()));
    const [pid = 0] = server.alive();
    const level = environmentOf(pid).includes('LEVEL=1') ? 0 : 1;
    const [winner, loser] = [results[level], results[1 - level]];
    assert.ok(winner?.status === 'fulfilled');
    assert.deepEqual([winner.value.pid, winner.value.reused, winner.value.differences], [pid, false, []]);
    if (whenDifferent === 'refuse') {
      assert.ok(loser?.status === 'rejected');
      assert.deepEqual((loser.reason as OptionsMismatchError).differences, ['env.LEVEL']);
    } else {
      assert.ok(loser?.status === 'fulfilled');
      const { value } = loser;
      if (whenDifferent === 'reuse') assert.deepEqual([value.pid, value.differences], [pid, ['env.LEVEL']]);
      else assert.deepEqual([value.reused, isRunning(value.pid)], [false, false], 'it was replaced by the other');
    }
    server.assertNeverTwo();
    assert.equal(server.pids().length, whenDifferent === 'restart' ? 2 : 1);
    await new ProcessManager(server.spec).stop();
  }
});

test('a process whose starter was killed during the start is compared like any other', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 60_000 }, { startTimeoutMs: 60_000, whenDifferent: 'restart' });
  const remote = await startRemoteManager(t, spec);
  const started = remote.start();
  started.catch(() => undefined);
  await eventually('the process is spawned', () => journalEntries(spec, 'spawn').length === 1);
  remote.kill();
  await assert.rejects(started);
  const pid = Number(journalEntries(spec, 'spawn')[0]?.pid);
  const other = await nodeSpec(t, {}, { stateDir: spec.stateDir, port: spec.port, whenDifferent: 'restart' });
  const second = await new ProcessManager(other).start({ signal: AbortSignal.timeout(15_000) });
  assert.equal(second.reused, false);
  assert.equal(isRunning(pid), false);
});

test('a spec with another port finds the running process at its own address, and stop() ends it', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: 60_000 });
  const first = await new ProcessManager(spec).start();
  const port = await freePort();
  const { args = [] } = spec;
  const moved = { ...spec, port, args: ['--port', String(port), ...args.slice(2)] };
  const { port: _, ...portless } = spec;
  for (const other of [moved, portless]) {
    const manager = new ProcessManager(other);
    const found = await manager.start({ signal: AbortSignal.timeout(10_000) });
    assert.deepEqual([found.pid, found.reused, found.address], [first.pid, true, first.address]);
    assert.deepEqual(found.differences, other === moved ? ['args'] : []);
    const { state, address, checks } = await manager.status();
    assert.deepEqual([state, address, checks.port], ['running', first.address, true]);
  }
  assert.equal((await new ProcessManager(moved).stop()).outcome, 'stopped');
  assert.equal(isRunning(first.pid), false);
  const { address } = await new ProcessManager(moved).status();
  assert.equal(address, `127.0.0.1:${port}`, 'the address is that of the spec');
});

test("with another port and whenDifferent 'restart' the server moves to the new port", async (t) => {
  const spec = await redisSpec(t, { whenDifferent: 'restart' });
  const first = await new ProcessManager(spec).start();
  const port = await freePort();
  const { args = [] } = spec;
  const moved = await new ProcessManager({ ...spec, port, args: ['--port', String(port), ...args.slice(2)] }).start();
  assert.equal(moved.address, `127.0.0.1:${port}`);
  assert.deepEqual([await accepts(spec.port), await accepts(port), isRunning(first.pid)], [false, true, false]);
});

test('a spec with a port finds a process that became ready without one', async (t) => {
  const spec = await nodeSpec(t);
  const { port: _, ...portless } = spec;
  const silent = { ...portless, args: (spec.args ?? []).slice(0, 1) };
  const first = await new ProcessManager(silent).start();
  const manager = new ProcessManager({ ...spec, startTimeoutMs: 60_000 });
  const found = await manager.start({ signal: AbortSignal.timeout(10_000) });
  assert.deepEqual([found.pid, found.address, found.differences], [first.pid, undefined, ['args']]);
});

test('stop() and status() work whatever fields differ', async (t) => {
  const spec = await redisSpec(t, { env: { LEVEL: '1' } });
  const other = { ...spec, command: '/nowhere/redis', args: [], cwd: '/nowhere', whenDifferent: 'refuse' } as const;
  const { pid } = await new ProcessManager(spec).start();
  const status = await callElsewhere<Status>(t, 'status', other);
  assert.deepEqual([status.state, status.pid], ['running', pid]);
  assert.deepEqual(status.differences, ['command', 'args', 'cwd']);
  assert.equal((await new ProcessManager(other).stop()).outcome, 'stopped');
});

test('a supervisor compares nothing: it watches a process of another spec, and starts its own spec only after a crash', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, {}, { env: { LEVEL: '1' } });
  for (const whenDifferent of ['restart', 'refuse'] as const) {
    const { pid } = await new ProcessManager(spec).start();
    const manager = new ProcessManager({ ...spec, env: { LEVEL: '2' }, whenDifferent });
    const supervisor = await supervision.here(manager, { checkIntervalMs: 10, ...NEVER_GIVE_UP });
    assert.equal(supervisor.state, 'watching');
    await new Promise((resolve) => setTimeout(resolve, STILL_MS));
    assert.deepEqual([isRunning(pid), supervisor.restarts], [true, 0]);
    process.kill(pid, 'SIGKILL');
    await eventually(
      'the supervisor has started its own spec',
      () => supervisor.restarts === 1 && supervisor.state === 'watching',
    );
    const { pid: next = 0, differences } = await manager.status();
    assert.deepEqual(differences, []);
    assert.ok(environmentOf(next).includes('LEVEL=2'));
    await manager.stop();
  }
});

test("whenDifferent 'restart' wins against a supervisor elsewhere that has the former spec", async (t) => {
  const supervision = new Supervision(t);
  const server = await witnessedServer(t, { dieAfterMs: 10 }, { env: { LEVEL: '1' }, whenDifferent: 'restart' });
  const supervisor = await supervision.elsewhere(server.spec, NEVER_GIVE_UP);
  for (let level = 2; level < 8; level += 1) {
    const manager = new ProcessManager({ ...server.spec, env: { LEVEL: String(level) } });
    const { pid, differences } = await manager.start();
    assert.deepEqual(differences, []);
    assert.ok(environmentOf(pid).includes(`LEVEL=${level}`));
    await reaches(supervisor, 'watching');
    assert.deepEqual(server.alive(), [pid]);
    assert.equal(server.pids().length, level, 'the supervisor started no server in between');
  }
  assert.equal(supervisor.all('gaveUp').length, 0);
  server.assertNeverTwo();
});

test('a user with another spec joins a shared process and gets the differences, or is refused and does not count as a user', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'shared', env: { LEVEL: '1' } });
  const first = new ProcessManager(spec);
  const { pid } = await first.start();
  const other = new ProcessManager({ ...spec, env: {} });
  assert.deepEqual((await other.start()).differences, ['env.LEVEL']);
  await other.leave();
  await assert.rejects(new ProcessManager({ ...spec, env: {}, whenDifferent: 'refuse' }).start(), OptionsMismatchError);
  const { users, pid: running } = await first.status();
  assert.deepEqual([users, running], [1, pid]);
  await first.leave();
});

test('without a journal nothing is known of the former spec, and no difference is reported', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  rmSync(join(spec.stateDir, 'redis.journal'));
  const other = new ProcessManager({ ...spec, args: [...(spec.args ?? []), '--appendonly', 'no'] });
  assert.deepEqual((await other.start()).differences, []);
  assert.deepEqual((await other.status()).differences, []);
});

test("whenDifferent 'restart' does not end the process when the new command does not exist", async (t) => {
  const spec = await nodeSpec(t, {});
  const { pid } = await new ProcessManager(spec).start();
  const other = new ProcessManager({ ...spec, command: '/no/such/program', whenDifferent: 'restart' });
  await assert.rejects(other.start(), { name: 'CommandNotFoundError' });
  const { state, pid: found } = await new ProcessManager(spec).status();
  assert.deepEqual([state, found], ['running', pid]);
});

test('a start that is aborted while it replaces another spec leaves nothing that others would have to end', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 300 });
  const { pid } = await new ProcessManager(spec).start();
  const abort = new AbortController();
  const other = new ProcessManager({ ...spec, env: { LEVEL: '2' }, whenDifferent: 'restart' });
  const started = other.start({ signal: abort.signal });
  started.catch(() => undefined);
  await eventually('the restart is in the journal', () => journalEntries(spec, 'restart').length > 0);
  abort.abort(new Error('enough'));
  await assert.rejects(started, { message: 'enough' });
  assert.equal(isRunning(pid), false);
  assert.equal((await other.status()).state, 'stopped');
});

test('while somebody keeps the journal locked, a start that would replace another spec fails in time, and the process runs on', async (t) => {
  const spec = await nodeSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  const keeper = startLockAgent(t);
  await keeper.acquire(journalFile(spec));
  const changed = { ...spec, env: { LEVEL: '2' }, startTimeoutMs: 1_000 };
  const other = new ProcessManager({ ...changed, whenDifferent: 'restart' });
  await assert.rejects(other.start(), { name: 'StateFileError' });
  assert.equal(isRunning(pid), true);
  await keeper.kill();
});

test('a start with another spec waits for the end of a process whose owner was killed, and neither refuses nor ends it', async (t) => {
  for (const whenDifferent of ['refuse', 'restart'] as const) {
    const spec = await nodeSpec(t, { 'on-term': 1_500 }, { env: { LEVEL: '1' } });
    const owner = await startOwner(t, spec);
    const watcher = watcherOf(owner.pid);
    owner.program.kill();
    await eventually('the watcher is ending the process', () => !(WATCHED_FD in descriptorsOf(watcher)), {
      everyMs: 2,
    });
    const manager = new ProcessManager({ ...spec, env: { LEVEL: '2' }, lifetime: 'tied', whenDifferent });
    assert.equal(isRunning(owner.pid), true);
    const { pid, reused, differences } = await manager.start();
    assert.deepEqual([isRunning(owner.pid), reused, differences], [false, false, []]);
    assert.notEqual(pid, owner.pid);
    assert.equal((await manager.history()).filter(({ event }) => event === 'restart').length, 0);
    await manager.stop();
  }
});
