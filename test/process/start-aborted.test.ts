/** An aborted start soon throws the reason of the signal, whatever it was waiting for, and leaves nothing behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, type FileLock, isLocked, ProcessManager } from '../../src/index.js';
import { assertNothingLeft, isRunning, logged } from '../helpers/outside-view.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';
import { witnessedServer } from '../helpers/witness.js';

const REASON = new Error('not wanted any more');

/** The time in which an abort must be noticed on a shared machine. */
const SOON_MS = 3_000;

async function isAborted(started: Promise<unknown>, abort: AbortController): Promise<void> {
  const began = performance.now();
  abort.abort(REASON);
  await assert.rejects(started, REASON);
  assert.ok(performance.now() - began < SOON_MS, `after ${performance.now() - began} ms`);
}

function lockPort(t: TestContext, port: number): FileLock {
  const lock = acquireLock(join(tmpdir(), `flock-process-${userInfo().uid}`, `port-${port}.lock`));
  t.after(() => lock.release());
  return lock;
}

test('a call with a signal that is aborted already touches nothing', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const signal = AbortSignal.abort(REASON);
  await assert.rejects(manager.start({ signal }), REASON);
  await assert.rejects(manager.restart({ signal }), REASON);
  await assert.rejects(manager.stop({ signal }), REASON);
  assert.equal(existsSync(spec.stateDir), false);
});

test('a start that is aborted by a time limit throws the reason of that signal', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 60_000 });
  await assert.rejects(new ProcessManager(spec).start({ signal: AbortSignal.timeout(300) }), { name: 'TimeoutError' });
  assertNothingLeft(spec);
});

test('a start that is aborted while it waits for the port lock ends soon, and leaves nothing behind', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const portLock = lockPort(t, spec.port);
  const abort = new AbortController();
  const started = manager.start({ signal: abort.signal });
  await eventually('the start holds the lock', () => isLocked(manager.spec.lockFile));
  await isAborted(started, abort);
  assertNothingLeft(spec);
  portLock.release();
  assert.equal((await manager.start()).reused, false);
});

test('a start that is aborted while it waits for a listener to go away ends soon, and leaves nothing behind', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const listener = createServer((socket) => socket.destroy());
  await new Promise<void>((listening) => listener.listen(spec.port, '127.0.0.1', listening));
  t.after(() => listener.close());
  const abort = new AbortController();
  const looked = once(listener, 'connection');
  const started = manager.start({ signal: abort.signal });
  // The abort comes at once, since the start gives the listener only 300 ms.
  await looked;
  await isAborted(started, abort);
  assertNothingLeft(spec);
});

test('a start that is aborted while it waits for readiness ends the process and its children', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 60_000, child: 'session' }, { startTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const exits: unknown[] = [];
  manager.on('exit', (detail) => exits.push(detail));
  const abort = new AbortController();
  const started = manager.start({ signal: abort.signal });
  const child = Number((await logged(manager.spec.logFile, /child (\d+)/))[1]);
  await isAborted(started, abort);
  assert.equal(isRunning(child), false);
  assertNothingLeft(spec);
  await eventually('the exit event is emitted', () => exits.length === 1);
});

test('a start that is aborted during isHealthy aborts its signal, and does not wait for the answer', async (t) => {
  let given: AbortSignal | undefined;
  const spec = await redisSpec(t, {
    startTimeoutMs: 60_000,
    checkTimeoutMs: 60_000,
    isHealthy: (_, signal) => {
      given = signal;
      return new Promise<boolean>(() => undefined);
    },
  });
  const abort = new AbortController();
  const started = new ProcessManager(spec).start({ signal: abort.signal });
  await eventually('the health check has begun', () => given !== undefined);
  assert.equal(given?.aborted, false);
  await isAborted(started, abort);
  assert.equal(given?.aborted, true);
  assertNothingLeft(spec);
});

test('a start that is aborted while it waits for another start leaves that start alone', async (t) => {
  let isWell = false;
  const spec = await redisSpec(t, { startTimeoutMs: 60_000, isHealthy: () => isWell });
  const first = new ProcessManager(spec).start();
  const manager = new ProcessManager(spec);
  await logged(manager.spec.logFile, /Ready to accept connections/);
  let asked = 0;
  const second = new ProcessManager({
    ...spec,
    isHealthy: () => {
      asked += 1;
      return false;
    },
  });
  const waits: unknown[] = [];
  second.on('waiting', (what) => waits.push(what.for));
  const abort = new AbortController();
  const started = second.start({ signal: abort.signal });
  await eventually('the second start waits until the process is ready', () => waits.includes('ready'));
  await isAborted(started, abort);
  assert.equal(asked, 0, 'only the start that spawned the process makes health checks before the process is ready');
  isWell = true;
  const { pid, reused } = await first;
  assert.equal(reused, false);
  assert.deepEqual([isRunning(pid), (await manager.status()).state], [true, 'running']);
});

test('a start that is aborted while it waits for a stop does not disturb that stop', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const stopped = new ProcessManager(spec).stop();
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  const abort = new AbortController();
  const spawned: number[] = [];
  manager.on('spawned', (instance) => spawned.push(instance.pid));
  const started = manager.start({ signal: abort.signal });
  await new Promise((turn) => setImmediate(turn));
  await isAborted(started, abort);
  assert.equal(isRunning(pid), true, 'it waited');
  process.kill(pid, 'SIGKILL');
  assert.equal((await stopped).outcome, 'stopped');
  assert.deepEqual(spawned, []);
});

test('a restart that is aborted while it stops the process leaves it "stopping", and the next start replaces it', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const abort = new AbortController();
  const restarted = manager.restart({ signal: abort.signal });
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  await isAborted(restarted, abort);
  assert.equal(isRunning(pid), true);
  assert.equal((await manager.status()).state, 'stopping');
  const next = await new ProcessManager({ ...spec, stopTimeoutMs: 100 }).start();
  assert.notEqual(next.pid, pid);
  assert.equal(isRunning(pid), false);
  await new ProcessManager({ ...spec, stopTimeoutMs: 0 }).stop();
});

test('a start aborted at a random instant ends with its reason and leaves nothing', async (t) => {
  const random = seededRandom(t);
  const { spec, assertNeverTwo, assertNothingThere } = await witnessedServer(t, { listenAfterMs: 20 });
  const manager = new ProcessManager(spec);
  const limitMs = 100;
  let aborted = 0;
  for (let round = 1; round <= rounds(100); round += 1) {
    const reason = new Error(`enough of round ${round}`);
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(reason), random.between(0, limitMs));
    try {
      assert.equal((await manager.start({ signal: controller.signal })).reused, false);
      await manager.stop();
    } catch (error) {
      assert.equal(error, reason);
      aborted += 1;
    } finally {
      clearTimeout(timer);
    }
    await assertNothingThere();
  }
  t.diagnostic(`aborted: ${aborted} of ${rounds(100)}`);
  assertNeverTwo();
});

test('the reason of an abort is thrown as it is, even when it is an error of the system', async (t) => {
  const spec = await redisSpec(t);
  const reason = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', syscall: 'write', errno: -32 });
  const abort = new AbortController();
  const started = new ProcessManager(spec).start({ signal: abort.signal });
  abort.abort(reason);
  await assert.rejects(started, (error) => error === reason);
  const slow = await nodeSpec(t, { 'on-term': 'ignore' });
  await new ProcessManager(slow).start();
  const abortStop = new AbortController();
  const stopped = new ProcessManager(slow).stop({ signal: abortStop.signal });
  abortStop.abort(reason);
  await assert.rejects(stopped, (error) => error === reason);
});
