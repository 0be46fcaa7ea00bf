/**
 * A process does not run for longer than a time limit: its event loop is busy, it is suspended, or the machine is stalled. What it
 * waited for may have come meanwhile, so it checks once more before it reports a failure.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Instance, ProcessManager, waitForLock } from '../../src/index.js';
import { isPortOpen } from '../../src/system/ports.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { pathWithScript, whereIs } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';

type Test = Parameters<typeof temporaryFolder>[0];

/** This is longer than the time limits below by more than a delay that a time limit tolerates. */
const KEPT_MS = 1_500;

function keepFromRunning(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, KEPT_MS);
}

/** A health check of several steps: its answer takes further turns after its process runs again. */
async function askRedis({ address }: Pick<Instance, 'address'>): Promise<boolean> {
  const socket = connect(Number(address?.split(':')[1]), '127.0.0.1');
  try {
    for (let step = 1; step <= 3; step += 1) {
      socket.write('PING\r\n');
      const [answer] = await once(socket, 'data');
      if (String(answer) !== '+PONG\r\n') return false;
      await delay(10);
    }
    return true;
  } finally {
    socket.destroy();
  }
}

test('a port that answered while its caller was blocked counts as open, although the time of the check is over', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const look = isPortOpen({ host: '127.0.0.1', port }, { timeoutMs: 50 });
  // The connection attempt is under way when this import is done.
  await import('node:net');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  assert.equal(await look, true);
});

test('a start whose event loop was blocked for longer than its start time returns the server that is ready by then', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: 1_000, isHealthy: askRedis });
  const manager = new ProcessManager(spec);
  manager.once('spawned', keepFromRunning);
  const { pid, reused } = await manager.start();
  assert.deepEqual([reused, (await manager.status()).pid], [false, pid]);
});

test('a start that is blocked in the middle of its health check returns the server that is ready by then', async (t) => {
  let looks = 0;
  const isHealthy = async (instance: Instance) => {
    looks += 1;
    if (looks === 1) setTimeout(keepFromRunning, 5);
    return await askRedis(instance);
  };
  const manager = new ProcessManager(await redisSpec(t, { startTimeoutMs: 1_000, isHealthy }));
  assert.equal((await manager.start()).reused, false);
});

test('a start that was suspended for longer than its start time returns the server that is ready by then', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 300 }, { startTimeoutMs: 1_000 });
  for (const afterMs of [0, 5, 10, 20, 40, 80]) {
    const manager = await startRemoteManager(t, spec);
    const started = manager.start();
    await eventually('the process is spawned', () => manager.events.some(({ event }) => event === 'spawned'));
    await delay(afterMs);
    manager.kill('SIGSTOP');
    await delay(KEPT_MS);
    manager.kill('SIGCONT');
    assert.equal((await started).reused, false, `suspended ${afterMs} ms after the spawn`);
    await manager.stop();
  }
});

test('a start that was blocked while it waits for the process of another start checks that process once more', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  let looks = 0;
  const isHealthy = async (instance: Instance) => {
    looks += 1;
    if (looks === 1) setTimeout(keepFromRunning, 5);
    return await askRedis(instance);
  };
  const { reused, ...instance } = await new ProcessManager({ ...spec, startTimeoutMs: 500, isHealthy }).start();
  assert.deepEqual([instance.pid, reused], [pid, true]);
});

test('a start checks a server that never becomes ready once more, and then gives it up', async (t) => {
  let looks = 0;
  const isHealthy = () => {
    looks += 1;
    keepFromRunning();
    return false;
  };
  const began = performance.now();
  const spec = sleepSpec(t, { startTimeoutMs: 500, isHealthy });
  await assert.rejects(new ProcessManager(spec).start(), { name: 'StartTimeoutError' });
  assert.ok(looks >= 2 && looks <= 4, `${looks} looks`);
  assert.ok(performance.now() - began < 10_000);
});

test('status() does not call a server unhealthy because its own process was busy during the check', async (t) => {
  const spec = await redisSpec(t, { checkTimeoutMs: 1_000, isHealthy: askRedis });
  const manager = new ProcessManager(spec);
  await manager.start();
  const asked = manager.status();
  setTimeout(keepFromRunning, 5);
  assert.equal((await asked).state, 'running');
});

test('a supervisor does not replace a healthy server because its own process was busy during a check', async (t) => {
  const supervision = new Supervision(t);
  let isBusy = false;
  let looks = 0;
  const isHealthy = async (instance: Instance) => {
    looks += 1;
    if (isBusy) setTimeout(keepFromRunning, 5);
    isBusy = false;
    return await askRedis(instance);
  };
  const manager = new ProcessManager(await redisSpec(t, { checkTimeoutMs: 1_000, isHealthy }));
  manager.on('unhealthy', ({ checks }) => assert.fail(`unhealthy: ${JSON.stringify(checks)}`));
  const supervisor = await supervision.here(manager, { checkIntervalMs: 10, unhealthyAfter: 1 });
  const { pid } = await manager.status();
  isBusy = true;
  const before = looks;
  await eventually('three more health checks are made', () => looks > before + 2);
  assert.deepEqual([(await manager.status()).pid, supervisor.restarts], [pid, 0]);
});

/** Starts a holder that keeps the lock until the test is over or kills it. */
async function holdLock(t: Test, path: string): Promise<Program> {
  const holder = startProgram(t, 'flock', ['--no-fork', '-x', path, 'sh', '-c', 'echo held; exec sleep 60']);
  await holder.printed(/held/);
  return holder;
}

test('a waiter that was blocked past its time limit gets a lock that was freed meanwhile', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  for (const timeoutMs of [50, 300, 1_000]) {
    const holder = await holdLock(t, path);
    const waiting = waitForLock(path, { timeoutMs });
    await delay(20);
    holder.kill();
    keepFromRunning();
    (await waiting).release();
  }
});

test("a waiter that was suspended past its time limit after a helper's answer gets a lock that was freed meanwhile", async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const holder = await holdLock(t, path);
  const ASKED = join(temporaryFolder(t), 'asked');
  const PATH = pathWithScript(t, 'slow-flock.sh');
  const waiter = startLockAgent(t, {
    nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')],
    env: { ...process.env, PATH, ASKED, REAL_FLOCK: whereIs('flock') },
  });
  const waiting = waiter.ask({ do: 'wait', path, timeoutMs: 400 });
  await eventually('the waiter has called flock(1)', () => existsSync(ASKED));
  waiter.program.kill('SIGSTOP');
  holder.kill();
  await holder.ended();
  await delay(KEPT_MS);
  waiter.program.kill('SIGCONT');
  await waiting;
});

test('a start whose check took the whole start time checks once more before it calls a found process unhealthy', async (t) => {
  const spec = sleepSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  let looks = 0;
  const isHealthy = () => {
    looks += 1;
    // On such a busy machine nothing else runs in this process meanwhile, so no time limit ends the check.
    if (looks === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    return looks > 1;
  };
  const found = await new ProcessManager({ ...spec, startTimeoutMs: 300, isHealthy }).start();
  assert.deepEqual([found.pid, found.reused, looks], [pid, true, 2]);
});
