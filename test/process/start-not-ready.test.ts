import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { EarlyExitError, ProcessManager, StartTimeoutError } from '../../src/index.js';
import { assertNothingLeft, isRunning, logged } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { assertNeverReady } from '../helpers/short-lived.js';
import { eventually } from '../helpers/waiting.js';

/** A start time within which a shell or redis does its first steps, even on a machine that keeps it waiting for a second. */
const ENOUGH_TO_BEGIN_MS = 2_000;

test('a process that exits at once causes EarlyExitError with its exit code and its last lines, and nothing is left', async (t) => {
  const spec = await nodeSpec(t, { print: 'no good', 'listen-after': 60_000, 'exit-after': 1, 'exit-code': 42 });
  const manager = new ProcessManager(spec);
  await assert.rejects(manager.start(), (error) => {
    assert.ok(error instanceof EarlyExitError, String(error));
    assert.deepEqual([error.code, error.exitCode, error.signal], ['ERR_EARLY_EXIT', 42, null]);
    assert.equal(error.logTail[0], 'no good');
    assert.match(
      error.message,
      /^Cannot start node-server: it ended with exit code 42 before it was ready; last in its log "[^"]+\/node-server\.log":\n {4}no good\n {4}server /,
    );
    return true;
  });
  assertNothingLeft(spec);
});

test('the EarlyExitError of a process that is ended by a signal names the signal', async (t) => {
  const spec = await redisSpec(t, { command: '/bin/sh', args: ['-c', 'kill -ABRT $$'] });
  await assert.rejects(new ProcessManager(spec).start(), (error) => {
    assert.ok(error instanceof EarlyExitError, String(error));
    assert.deepEqual([error.exitCode, error.signal, error.logTail], [null, 'SIGABRT', []]);
    assert.match(error.message, /it ended by SIGABRT before it was ready; nothing in its log/);
    return true;
  });
  assertNothingLeft(spec);
});

test('exit code 0 before the process is ready is an early exit, too', async (t) => {
  const spec = await redisSpec(t, { command: 'true', args: [] });
  await assert.rejects(new ProcessManager(spec).start(), { name: 'EarlyExitError', exitCode: 0 });
  assertNothingLeft(spec);
});

test('the log lines of an error come from this start alone', async (t) => {
  const spec = await redisSpec(t, { command: '/bin/sh', args: ['-c', 'echo mine; exit 3'] });
  const manager = new ProcessManager(spec);
  mkdirSync(dirname(manager.spec.logFile), { recursive: true });
  writeFileSync(manager.spec.logFile, 'of an earlier start\nwithout an end');
  await assert.rejects(manager.start(), (error) => {
    assert.deepEqual((error as EarlyExitError).logTail, ['mine']);
    return true;
  });
});

test('an error has the last fifty lines of the log', async (t) => {
  const spec = await redisSpec(t, { command: '/bin/sh', args: ['-c', 'seq 1 500; exit 3'] });
  await assert.rejects(new ProcessManager(spec).start(), (error) => {
    assert.deepEqual(
      (error as EarlyExitError).logTail,
      Array.from({ length: 50 }, (_, index) => String(451 + index)),
    );
    return true;
  });
});

test('an early exit is reported even when nothing else keeps the calling process alive', async (t) => {
  const spec = await redisSpec(t, { command: 'false', args: [] });
  const { stdout, stderr } = await startFixture(t, 'busy-starter', [JSON.stringify(spec)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  }).ended();
  assert.equal(stdout, 'EarlyExitError\n', stderr);
});

test('a process without checks that ends within 100 ms was never ready', async (t) => {
  await assertNeverReady(t, sleepSpec(t));
});

test('a process that is never ready causes StartTimeoutError with status and log lines, and nothing is left', async (t) => {
  const args = ['-c', 'echo hello; exec sleep 300'];
  const spec = await redisSpec(t, { command: '/bin/sh', args, startTimeoutMs: ENOUGH_TO_BEGIN_MS });
  const manager = new ProcessManager(spec);
  const pids: number[] = [];
  manager.on('spawned', ({ pid }) => pids.push(pid));
  const began = performance.now();
  await assert.rejects(manager.start(), (error) => {
    assert.ok(error instanceof StartTimeoutError, String(error));
    assert.deepEqual(
      [error.code, error.timeoutMs, error.logTail[0]],
      ['ERR_START_TIMEOUT', ENOUGH_TO_BEGIN_MS, 'hello'],
    );
    assert.equal(error.status.pid, pids[0]);
    assert.deepEqual(error.status.checks, {
      lock: true,
      pidFile: true,
      process: true,
      identity: true,
      port: false,
      health: undefined,
    });
    assert.match(
      error.message,
      /not ready within 2000 ms, it does not accept connections on 127\.0\.0\.1:\d+; it was ended/,
    );
    return true;
  });
  assert.ok(performance.now() - began >= ENOUGH_TO_BEGIN_MS);
  assertNothingLeft(spec);
});

test('the StartTimeoutError of a process that is never healthy says so', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: ENOUGH_TO_BEGIN_MS, isHealthy: () => false });
  await assert.rejects(new ProcessManager(spec).start(), (error) => {
    assert.ok(error instanceof StartTimeoutError, String(error));
    assert.deepEqual([error.status.checks.port, error.status.checks.health], [true, false]);
    assert.match(error.message, /it is not healthy/);
    return true;
  });
  assertNothingLeft(spec);
});

test('a process that ignores SIGTERM and is never ready is gone 2 s after its start time, with its children', async (t) => {
  const args = ['-c', 'trap "" TERM; sleep 300 & echo "child $!"; exec sleep 300'];
  const limits = { startTimeoutMs: ENOUGH_TO_BEGIN_MS, stopTimeoutMs: 60_000 };
  const spec = await redisSpec(t, { command: '/bin/sh', args, ...limits });
  const manager = new ProcessManager(spec);
  // On a busy machine the timers of one process still fire in their order.
  let isTooLate = false;
  const forcedTooLate: boolean[] = [];
  const kill = process.kill.bind(process);
  t.mock.method(process, 'kill', (pid: number, signal: NodeJS.Signals) => {
    if (signal === 'SIGTERM') setTimeout(() => (isTooLate = true), 3_000).unref();
    if (signal === 'SIGKILL') forcedTooLate.push(isTooLate);
    return kill(pid, signal);
  });
  const failed = assert.rejects(manager.start(), { name: 'StartTimeoutError' });
  const child = Number((await logged(manager.spec.logFile, /child (\d+)/))[1]);
  await failed;
  assert.equal(forcedTooLate[0], false);
  await eventually('the child has ended', () => !isRunning(child));
  assertNothingLeft(spec);
});

test('a server that continues in a forked child whenever it gets SIGTERM is gone 2 s after its start time', async (t) => {
  const handOver =
    'use POSIX; $SIG{TERM} = sub { select undef, undef, undef, 0.7; exit 0 if fork; POSIX::setsid() }; sleep 1 while 1';
  const spec = await redisSpec(t, { command: 'perl', args: ['-e', handOver], startTimeoutMs: ENOUGH_TO_BEGIN_MS });
  await assert.rejects(new ProcessManager(spec).start(), StartTimeoutError);
  assertNothingLeft(spec);
});

test('a start with startTimeoutMs 0 checks only once', async (t) => {
  const expected = { name: 'StartTimeoutError', timeoutMs: 0 };
  const never = await nodeSpec(t, { 'listen-after': 600_000 }, { startTimeoutMs: 0 });
  await assert.rejects(new ProcessManager(never).start(), expected);
  assertNothingLeft(never);
  let looks = 0;
  const spec = sleepSpec(t, { startTimeoutMs: 0, isHealthy: () => ++looks > 2 });
  await assert.rejects(new ProcessManager(spec).start(), expected);
  assert.equal(looks, 2, 'one check by the start, and one for the status in the error');
  assertNothingLeft(spec);
});

test('a process that dies right after ready is returned by its start, is then stopped, and is replaced by the next start', async (t) => {
  const spec = await nodeSpec(t, { 'exit-on': 'SIGUSR2', 'exit-code': 5 });
  const manager = new ProcessManager(spec);
  const exits: unknown[] = [];
  manager.on('exit', (detail) => exits.push(detail));
  const { pid } = await manager.start();
  process.kill(pid, 'SIGUSR2');
  await eventually('the exit event is emitted', () => exits.length > 0);
  assert.deepEqual(exits, [{ pid, exitCode: 5, signal: null }]);
  assert.equal((await manager.status()).state, 'stopped');
  const next = await manager.start();
  assert.notEqual(next.pid, pid);
  assert.equal(next.reused, false);
});
