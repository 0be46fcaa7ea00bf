/** What other processes can see: the last exit, the supervisor, the history, and the files. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  acquireLock,
  type JournalEvent,
  ProcessManager,
  StateFileError,
  type Status,
  type StopResult,
} from '../../src/index.js';
import { journalEntries, journalFile } from '../helpers/journal.js';
import { callElsewhere } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';

test('another process learns the last exit when the parent of the process lived to see it', async (t) => {
  const spec = await nodeSpec(t, { 'exit-on': 'SIGUSR1', 'exit-code': 7 });
  const manager = new ProcessManager(spec);
  assert.equal((await manager.status()).lastExit, undefined);
  const before = Date.now();
  const first = await manager.start();
  assert.equal((await manager.status()).lastExit, undefined, 'it runs');
  process.kill(first.pid, 'SIGUSR1');
  await eventually('the exit is in the journal', () => journalEntries(spec, 'exit').length === 1);
  const { state, lastExit } = await callElsewhere<Status>(t, 'status', spec);
  const at = new Date(String(lastExit?.at)).getTime();
  assert.deepEqual([state, { ...lastExit, at }], ['stopped', { pid: first.pid, exitCode: 7, signal: null, at }]);
  assert.ok(at >= before && at <= Date.now());
  const second = await manager.start();
  process.kill(second.pid, 'SIGKILL');
  await eventually('the exit is in the journal', () => journalEntries(spec, 'exit').length === 2);
  const status = await manager.status();
  assert.deepEqual([status.lastExit?.pid, status.lastExit?.signal], [second.pid, 'SIGKILL']);
  assert.ok(status.lastExit?.at instanceof Date);
});

test('after a process whose parent was gone there is no last exit, not even that of its predecessor', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  process.kill(pid, 'SIGKILL');
  await eventually('the exit is in the journal', () => journalEntries(spec, 'exit').length === 1);
  const orphan = await callElsewhere<{ pid: number }>(t, 'start', spec);
  assert.equal((await manager.status()).lastExit?.pid, pid, 'while the next one runs');
  process.kill(orphan.pid, 'SIGKILL');
  await eventually('the process has ended', () => !isRunning(orphan.pid));
  assert.equal((await manager.status()).lastExit, undefined);
});

test('another process learns who supervises the process, and how often it was restarted', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const outside = new ProcessManager(spec);
  const told = async () => {
    const { restarts, supervisor } = await outside.status();
    return { restarts, ...supervisor };
  };
  assert.deepEqual(await told(), { restarts: 0 });
  const supervisor = await supervision.elsewhere(spec, NEVER_GIVE_UP);
  const { pid } = supervisor.program;
  assert.deepEqual(await told(), { restarts: 0, pid, state: 'watching' });
  for (let restarts = 1; restarts <= 3; restarts += 1) {
    process.kill((await outside.status()).pid as number, 'SIGKILL');
    await eventually('status() reports the restart', async () => (await told()).restarts === restarts);
    await reaches(supervisor, 'watching');
    assert.deepEqual(await told(), { restarts, pid, state: 'watching' });
  }
  await outside.stop();
  await reaches(supervisor, 'standby');
  assert.deepEqual(await told(), { restarts: 3, pid, state: 'standby' });
  await outside.start();
  await reaches(supervisor, 'watching');
  assert.deepEqual(await told(), { restarts: 0, pid, state: 'watching' });
  process.kill((await outside.status()).pid as number, 'SIGKILL');
  await eventually('status() reports the restart', async () => (await told()).restarts === 1);
  const second = await supervision.here(new ProcessManager(spec));
  assert.deepEqual(
    await told(),
    { restarts: 0, pid: process.pid, state: 'watching' },
    'the supervisor that began last',
  );
  await second.stop();
  assert.deepEqual(await told(), { restarts: 0, pid, state: 'watching' }, 'the first supervisor goes on');
  supervisor.end();
  await supervisor.program.ended();
  assert.deepEqual(await told(), { restarts: 0 });
});

test('a killed supervisor is not reported, and neither is a restart of its killed server', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t);
  const first = await supervision.elsewhere(spec);
  const second = await supervision.elsewhere(spec);
  second.kill();
  await second.program.ended();
  const status = await callElsewhere<Status>(t, 'status', spec);
  assert.deepEqual(status.supervisor, { pid: first.program.pid, state: 'watching' });
  first.kill();
  await first.program.ended();
  assert.equal((await callElsewhere<Status>(t, 'status', spec)).supervisor, undefined);
  // The line of a killed supervisor, as if its PID had been given to another program of this boot.
  const line = journalEntries(spec, 'supervise').at(-1);
  const forged = { ...line, by: process.pid, supervisor: 'another' };
  writeFileSync(journalFile(spec), `\n${JSON.stringify(forged)}\n`, { flag: 'a' });
  assert.equal((await callElsewhere<Status>(t, 'status', spec)).supervisor, undefined);
});

test('status() reports a supervisor whose starts fail as restarting, with the last error, and then as given up until the next stop()', async (t) => {
  const supervision = new Supervision(t);
  const behaviour = { 'exit-after': 0, 'listen-after': 60_000, 'exit-code': 3, print: 'no such database' };
  const spec = await nodeSpec(t, behaviour);
  const options = { backoff: { initialMs: 60_000, maxMs: 60_000 }, giveUpAfter: { restarts: 3 } };
  const supervisor = supervision.launch(spec, options);
  const told = async () => (await callElsewhere<Status>(t, 'status', spec)).supervisor;
  await eventually('two failed starts are in the journal', () => journalEntries(spec, 'crash').length === 2);
  const { lastError = '', ...rest } = (await told()) ?? {};
  assert.deepEqual(rest, { pid: supervisor.program.pid, state: 'restarting' });
  assert.match(lastError, /ended with exit code 3 before it was ready.*no such database/s);
  supervisor.kill();
  await supervisor.program.ended();
  const hasty = supervision.launch(spec, { backoff: { initialMs: 0 }, giveUpAfter: { restarts: 2 } });
  await eventually('the supervisor has given up', () => hasty.all('gaveUp').length === 1);
  const { restarts, state, supervisor: last } = await callElsewhere<Status>(t, 'status', spec);
  assert.deepEqual([restarts, state], [0, 'stopped'], 'failed starts are no restarts');
  assert.deepEqual([last?.pid, last?.state], [hasty.program.pid, 'gave-up']);
  assert.match(String(last?.lastError), /Gave up on node-server.*exit code 3/s);
  await callElsewhere<StopResult>(t, 'stop', spec);
  assert.equal(await told(), undefined);
});

test('a long last error of characters outside ASCII is not lost', async (t) => {
  const supervision = new Supervision(t);
  const spec = sleepSpec(t, { command: `/nowhere/${'ü'.repeat(5_000)}` });
  const options = { backoff: { initialMs: 60_000, maxMs: 60_000 } };
  const supervisor = supervision.launch(spec, options);
  const lastError = async () => (await new ProcessManager(spec).status()).supervisor?.lastError;
  assert.match(
    await eventually('status() reports the error of a failed start', lastError),
    /^Cannot start sleeper: command "\/nowhere\/ü+$/,
  );
  supervisor.end();
});

test('history() tells what happened and who did it, in another process too, newest last', async (t) => {
  const spec = await redisSpec(t);
  assert.deepEqual(await new ProcessManager(spec).history(), []);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const { outcome } = await callElsewhere<StopResult>(t, 'stop', spec);
  await eventually('the exit is in the journal', () => journalEntries(spec, 'exit').length === 1);
  const events = await manager.history();
  const names = events.map(({ event }) => event).filter((event) => event !== 'exit');
  assert.deepEqual(names, ['start', 'spawn', 'ready', 'stop', 'stopped']);
  const find = (name: string) => events.find(({ event }) => event === name);
  assert.deepEqual([find('spawn')?.pid, find('spawn')?.by], [pid, process.pid]);
  assert.equal(find('spawn')?.program, 'history.test.js');
  const stop = find('stop');
  assert.ok(stop?.by !== process.pid && stop?.program === 'one-call.js');
  assert.equal(find('stopped')?.outcome, outcome);
  assert.equal(typeof find('ready')?.tookMs, 'number');
  const exit = find('exit');
  assert.deepEqual([exit?.pid, exit?.exitCode, exit?.signal], [pid, 0, null]);
  assert.ok(events.every(({ at }, index) => at >= (events[index - 1]?.at ?? new Date(0))));
  assert.deepEqual(await manager.history(2), events.slice(-2));
  assert.deepEqual(await manager.history(0), []);
  const elsewhere = await callElsewhere<JournalEvent[]>(t, 'history', spec);
  assert.deepEqual(elsewhere, JSON.parse(JSON.stringify(events)));
  for (const limit of [-1, 1.5, '3', Number.NaN]) {
    await assert.rejects(manager.history(limit as number), { name: 'TypeError', message: /"limit" must be a whole/ });
  }
});

test('history() throws for a journal that cannot be read, and is empty when there is none', async (t) => {
  const spec = await redisSpec(t);
  await new ProcessManager(spec).start();
  const other = new ProcessManager({ ...spec, lockFile: join(spec.stateDir, 'other.lock') });
  assert.deepEqual(await other.history(), []);
  symlinkSync(journalFile(spec), journalFile(other.spec));
  await assert.rejects(other.history(), StateFileError);
});

test('files names all files but the lock file, so that a tool can delete them while it holds the lock', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'shared' });
  const manager = new ProcessManager(spec);
  await manager.start();
  await new ProcessManager({ ...spec, lifetime: 'detached' }).restart();
  await manager.stop();
  await manager.leave();
  const left = readdirSync(spec.stateDir, { recursive: true, encoding: 'utf8' }).map((name) =>
    join(spec.stateDir, name),
  );
  const known = [...manager.files, manager.spec.lockFile, join(spec.stateDir, 'logs')];
  assert.deepEqual(
    left.filter((path) => !known.includes(path)),
    [],
  );
  assert.equal(manager.files.includes(manager.spec.lockFile), false);
  assert.deepEqual(
    [manager.spec.pidFile, manager.spec.logFile, journalFile(spec)].filter((path) => !manager.files.includes(path)),
    [],
  );
  {
    using _lock = acquireLock(manager.spec.lockFile);
    for (const path of manager.files) rmSync(path, { force: true });
  }
  assert.deepEqual(readdirSync(spec.stateDir).sort(), ['logs', 'redis.lock']);
  assert.deepEqual(await manager.history(), []);
  assert.equal((await manager.start()).reused, false);
  await manager.stop();
});

test('status() reports a supervisor on standby after a clean exit, and one with respectStop from the start', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, { 'exit-on': 'SIGUSR1', 'exit-code': 0 });
  const manager = new ProcessManager(spec);
  const supervisor = supervision.add(manager.supervise({ restartOn: 'failure', checkIntervalMs: 50 }));
  await eventually('the process runs', async () => await manager.isRunning());
  const { pid } = await manager.status();
  process.kill(Number(pid), 'SIGUSR1');
  await eventually('the supervisor is on standby', () => supervisor.state === 'standby');
  assert.equal((await callElsewhere<Status>(t, 'status', spec)).supervisor?.state, 'standby');
  await supervisor.stop();

  const quiet = new ProcessManager(sleepSpec(t));
  const other = supervision.add(quiet.supervise({ respectStop: true }));
  await eventually('status() reports the supervisor', async () => (await quiet.status()).supervisor !== undefined);
  await other.stop();
});
