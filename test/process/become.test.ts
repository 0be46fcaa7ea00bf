/** become(): a program makes itself the managed process. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import {
  acquireLock,
  isLocked,
  LockHeldError,
  ProcessManager,
  type ProcessSpec,
  type Status,
  StoppedError,
  type StopResult,
} from '../../src/index.js';
import { bothModes } from '../helpers/becoming.js';
import { isRunningProcess, watchSignals } from '../helpers/evidence.js';
import { journalEntries } from '../helpers/journal.js';
import { callElsewhere, onDarwin } from '../helpers/one-call.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { type RemoteManager, startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

const BACKOFF = { backoff: { initialMs: 0 } };

/** Lets another program become the managed process, and gives a manager here that has the same spec. */
async function becomeElsewhere(t: TestContext, changes: Partial<ProcessSpec> = {}) {
  const spec = sleepSpec(t, changes);
  const manager = new ProcessManager(spec);
  const remote = await startRemoteManager(t, spec);
  const pid = await remote.become();
  return { spec, manager, remote, pid };
}

async function endOf({ program }: RemoteManager): Promise<NodeJS.Signals | null> {
  return (await program.ended()).signal;
}

test('status() elsewhere says starting until the process says that it is ready, then running, and stopped after its release', async (t) => {
  const { manager, remote, pid } = await becomeElsewhere(t);
  const { lockFile, pidFile } = manager.spec;
  const starting = await manager.status();
  assert.deepEqual([starting.state, starting.pid], ['starting', pid]);
  assert.equal(isLocked(lockFile), true);
  assert.equal(readFileSync(lockFile, 'utf8'), `${pid}\n`);
  assert.match(readFileSync(pidFile, 'utf8'), new RegExp(`^${pid}\nsleep\n\\d{10}\n$`));

  await remote.ready();
  const running = await manager.status();
  assert.deepEqual([running.state, running.pid], ['running', pid]);
  const { lock, pidFile: isNamed, process: isThere, identity } = running.checks;
  assert.deepEqual([lock, isNamed, isThere, identity], [true, true, true, true]);
  assert.equal(await manager.isRunning(), true);

  await remote.release();
  assert.equal((await manager.status()).state, 'stopped');
  assert.deepEqual([existsSync(pidFile), readFileSync(lockFile, 'utf8')], [false, '']);
  assert.equal((await manager.stop()).outcome, 'not-running');
  assert.equal(isRunningProcess(pid), true);
});

test('a process that does not say that it is ready is unhealthy when the start time since its become() is over', async (t) => {
  const { manager, pid } = await becomeElsewhere(t, { startTimeoutMs: 300 });
  await eventually('the process is unhealthy', async () => (await manager.status()).state === 'unhealthy');
  assert.equal((await manager.status()).pid, pid);
});

test('a start() beside a become() waits until that process is ready, and returns it', async (t) => {
  const { manager, remote, pid } = await becomeElsewhere(t);
  const started = manager.start();
  const first = await Promise.race([
    started,
    eventually('the time to watch the start is over', () => false, { withinMs: STILL_MS }).catch(() => 'none'),
  ]);
  assert.equal(first, 'none');
  await remote.ready();
  const { pid: found, reused } = await started;
  assert.deepEqual([found, reused], [pid, true]);
  assert.equal(journalEntries(manager.spec, 'start').length, 1);
});

test('a second become() is refused, elsewhere and in the process itself, whether it is ready or not', async (t) => {
  const { spec, manager, remote, pid } = await becomeElsewhere(t);
  const isRefused = { code: 'ERR_LOCK_HELD', path: manager.spec.lockFile, message: new RegExp(`PID ${pid}`) };
  for (const step of ['starting', 'ready']) {
    if (step === 'ready') await remote.ready();
    await assert.rejects(manager.become(), LockHeldError);
    await assert.rejects(manager.become(), isRefused);
    await assert.rejects(remote.become(), isRefused);
  }
  assert.equal((await new ProcessManager(spec).status()).pid, pid);
});

test('a become() beside a server that start() has spawned is refused', async (t) => {
  const manager = new ProcessManager(sleepSpec(t));
  const { pid } = await manager.start();
  await assert.rejects(manager.become(), { code: 'ERR_LOCK_HELD', message: new RegExp(`PID ${pid}`) });
  assert.equal((await manager.status()).pid, pid);
});

test('a become() while another program holds the lock is refused within 5 s', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const lock = acquireLock(manager.spec.lockFile);
  const began = performance.now();
  await assert.rejects(manager.become(), { code: 'ERR_LOCK_HELD', message: new RegExp(`PID ${process.pid}`) });
  assert.ok(performance.now() - began < 5_000);
  assert.equal(lock.isIntact(), true);
  lock.release();
});

test('a become() beside a process that is being stopped waits for its end, and then is the process', async (t) => {
  const { spec, run } = await bothModes(t);
  const manager = new ProcessManager(spec);
  const slow = run('slow');
  await slow.printed(/^ready/m);
  const other = await startRemoteManager(t, spec);
  const stopped = manager.stop();
  await eventually('the stop is in the journal', () => journalEntries(spec, 'stop').length === 1);
  const pid = await other.become();
  assert.equal((await stopped).outcome, 'stopped');
  assert.equal(isRunningProcess(slow.pid), false);
  const { state, pid: found } = await manager.status();
  assert.deepEqual([state, found], ['starting', pid]);
});

test('a stop() elsewhere of a process that called become() sends stopSignal to its PID alone', async (t) => {
  const { spec, run } = await bothModes(t);
  const program = run('handler', 'bystander');
  const bystander = killAfter(t, Number((await program.printed(/^bystander (\d+)$/m))[1]));
  await program.printed(/^ready/m);
  const { outcome } = await new ProcessManager(spec).stop();
  const { exitCode, stdout } = await program.ended();
  assert.deepEqual([outcome, exitCode], ['stopped', 7]);
  assert.match(stdout, /^asked to end$/m);
  assert.equal(isRunningProcess(bystander), true);
  assert.equal((await new ProcessManager(spec).status()).state, 'stopped');
});

test('a stop() kills a process that called become() and ignores stopSignal', async (t) => {
  const { spec, run } = await bothModes(t);
  const program = run('ignore');
  await program.printed(/^ready/m);
  const { outcome } = await new ProcessManager({ ...spec, stopTimeoutMs: 200 }).stop();
  assert.deepEqual([outcome, (await program.ended()).signal], ['killed', 'SIGKILL']);
});

test('stop() in the process itself only releases the lock, through any manager, and signals nobody', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const signals = watchSignals(t);
  for (const by of [manager, new ProcessManager(spec)]) {
    const managed = await manager.become();
    managed.ready();
    assert.equal((await manager.status()).pid, process.pid);
    assert.equal((await by.stop()).outcome, 'stopped');
    assert.equal(isLocked(manager.spec.lockFile), false);
    assert.equal((await by.status()).state, 'stopped');
    assert.equal((await by.stop()).outcome, 'not-running');
    managed.ready();
    managed.release();
  }
  assert.deepEqual(signals.targets(), []);
  assert.deepEqual(
    journalEntries(spec, 'ready', 'exit', 'stop').map(({ event }) => event),
    [...['ready', 'stop', 'exit', 'stop'], ...['ready', 'stop', 'exit', 'stop']],
  );
});

test('after its lock file was deleted stop() and start() in the process itself signal nobody, and start() elsewhere ends the process', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const signals = watchSignals(t);
  await manager.become();
  rmSync(manager.spec.lockFile);
  assert.equal((await manager.stop()).outcome, 'stopped');
  await manager.become();
  rmSync(manager.spec.lockFile);
  const { pid } = await manager.start();
  assert.notEqual(pid, process.pid);
  assert.equal((await manager.status()).pid, pid);
  assert.deepEqual(signals.targets(), []);
  await manager.stop();

  const remote = await startRemoteManager(t, spec);
  const own = await remote.become();
  rmSync(manager.spec.lockFile);
  const { state, pid: reported } = await manager.status();
  assert.deepEqual([state, reported], ['unhealthy', own]);
  assert.equal((await manager.start()).reused, false);
  assert.equal(await endOf(remote), 'SIGTERM');
});

test('after kill -9 of a process that called become() nothing keeps the next become() or start() from working', async (t) => {
  const { spec, run } = await bothModes(t);
  const manager = new ProcessManager(spec);
  const program = run('bystander');
  killAfter(t, Number((await program.printed(/^bystander (\d+)$/m))[1]));
  await program.printed(/^ready/m);
  program.kill();
  await program.ended();
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal((await manager.status()).state, 'stopped');
  const next = run();
  await next.printed(/^ready/m);
  assert.equal((await manager.status()).pid, next.pid);
  next.kill();
  // A killed process is found like any other until the kernel has ended it.
  await next.ended();
  const { pid, reused } = await manager.start();
  assert.equal(reused, false);
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
});

test('in a program that start() has spawned become() does nothing, since that program is the process already', async (t) => {
  const { spec } = await bothModes(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  await eventually('the process has written its ready line', async () =>
    (await manager.logTail()).includes(`ready ${pid}`),
  );
  assert.deepEqual(
    journalEntries(spec).map(({ event, by }) => [event, by]),
    ['start', 'spawn', 'ready'].map((event) => [event, process.pid]),
  );
  assert.deepEqual([(await manager.status()).pid, (await manager.stop()).outcome], [pid, 'stopped']);
});

test('a supervisor elsewhere watches a process that called become(), and replaces it after kill -9; a stop() is final', async (t) => {
  const supervision = new Supervision(t);
  const { spec, run } = await bothModes(t);
  const manager = new ProcessManager(spec);
  const program = run();
  await program.printed(/^ready/m);
  const supervisor = await supervision.elsewhere(spec, BACKOFF);
  assert.equal((await manager.status()).pid, program.pid);
  program.kill();
  await eventually('another process runs', async () => {
    const { state, pid } = await manager.status();
    return state === 'running' && pid !== program.pid;
  });
  assert.equal((await manager.stop()).outcome, 'stopped');
  await eventually('the supervisor is on standby', () =>
    supervisor.reports.some((report) => JSON.stringify(report).includes('standby')),
  );
  // The program is run by hand once more, and the supervisor watches that process, too.
  const next = run();
  await next.printed(/^ready/m);
  await eventually('the supervisor is watching', () => JSON.stringify(supervisor.reports.at(-1)).includes('watching'));
  assert.equal((await manager.status()).pid, next.pid);
});

test('a supervisor elsewhere starts the command after the process has released the lock', async (t) => {
  const supervision = new Supervision(t);
  const { spec, manager, remote, pid } = await becomeElsewhere(t);
  await remote.ready();
  await supervision.elsewhere(spec, BACKOFF);
  await remote.release();
  const report = await eventually('a spawned process runs', async () => {
    const found = await manager.status();
    return found.state === 'running' ? found : undefined;
  });
  assert.notEqual(report.pid, pid);
  assert.equal(remote.program.isAlive, true);
  await manager.stop();
});

test('a process can call become() again after a release', async (t) => {
  const { manager, remote, pid } = await becomeElsewhere(t);
  await remote.ready();
  await remote.release();
  assert.equal(await remote.become(), pid);
  assert.equal((await manager.status()).state, 'starting');
  await remote.ready();
  assert.equal((await manager.status()).state, 'running');
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(await endOf(remote), 'SIGTERM');
});

test('restart() elsewhere ends a process that called become(), and starts the command', async (t) => {
  const { manager, remote, pid } = await becomeElsewhere(t);
  await remote.ready();
  const fresh = await manager.restart();
  assert.notEqual(fresh.pid, pid);
  assert.equal(await endOf(remote), 'SIGTERM');
  assert.equal((await manager.status()).pid, fresh.pid);
});

test('a stop() that is called during a become() makes that fail with StoppedError', async (t) => {
  const other = new ProcessManager(sleepSpec(t));
  let stopped: Promise<unknown> | undefined;
  const spec = {
    ...other.spec,
    predecessor: () => {
      stopped ??= other.stop();
      return undefined;
    },
  };
  await assert.rejects(new ProcessManager(spec).become(), StoppedError);
  await stopped;
  assert.equal((await other.status()).state, 'stopped');
  assert.equal(readFileSync(other.spec.lockFile, 'utf8'), '');
});

test('become() with another lifetime throws a TypeError, and with an aborted signal it throws its reason', async (t) => {
  for (const lifetime of ['tied', 'shared'] as const) {
    const spec = sleepSpec(t, { lifetime });
    await assert.rejects(new ProcessManager(spec).become(), {
      name: 'TypeError',
      message: `"lifetime" must be "detached" for become(), not "${lifetime}"`,
    });
    assert.equal(existsSync(spec.stateDir), false);
  }
  const spec = sleepSpec(t);
  const reason = new Error('enough');
  await assert.rejects(new ProcessManager(spec).become({ signal: AbortSignal.abort(reason) }), reason);
  assert.equal(existsSync(spec.stateDir), false);
});

test('without /proc, or without the addon, a process that called become() is still found and stopped', async (t) => {
  for (const nodeArgs of [onDarwin.nodeArgs, ['--require', plainFixture('without-fs-ext.cjs')]]) {
    const spec = sleepSpec(t);
    const remote = await startRemoteManager(t, spec, { nodeArgs });
    const pid = await remote.become();
    await remote.ready();
    const { state, pid: found } = await callElsewhere<Status>(t, 'status', spec, { nodeArgs });
    assert.deepEqual([state, found], ['running', pid]);
    const second = await startRemoteManager(t, spec, { nodeArgs });
    await assert.rejects(second.become(), { code: 'ERR_LOCK_HELD' });
    assert.deepEqual((await callElsewhere<StopResult>(t, 'stop', spec, { nodeArgs })).outcome, 'stopped');
    assert.equal(await endOf(remote), 'SIGTERM');
  }
});

test('a child of a process that called become() does not keep its lock', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const managed = await manager.become();
  const child = startProgram(t, 'sleep', ['300']);
  managed.release();
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal(child.isAlive, true);
});

test('stop() in the process itself makes it give up also when its files were deleted', async (t) => {
  const { manager, remote, pid } = await becomeElsewhere(t);
  await remote.ready();
  rmSync(manager.spec.stateDir, { recursive: true });
  assert.equal((await remote.stop()).outcome, 'stopped');
  assert.equal((await remote.stop()).outcome, 'not-running');
  assert.equal(isRunningProcess(pid), true);
});
