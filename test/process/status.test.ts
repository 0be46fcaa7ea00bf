import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, ProcessManager, type Status } from '../../src/index.js';
import { appendToJournal } from '../helpers/journal.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { isRunning, logged, reachesState, snapshot } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { nodeSpec, pythonSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { argumentsOf } from '../helpers/tied.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** The layers of a status in their order. A layer that was not asked is undefined. */
function layers({
  checks: { lock, pidFile, process: processCheck, identity, port, health },
}: Status): (boolean | undefined)[] {
  return [lock, pidFile, processCheck, identity, port, health];
}

test('status() of a stopped process says that the lock is free, asks nothing else, and knows the address', async (t) => {
  const spec = await redisSpec(t);
  const status = await new ProcessManager(spec).status();
  assert.deepEqual(layers(status), [false, undefined, undefined, undefined, undefined, undefined]);
  assert.deepEqual(
    { ...status, checks: undefined },
    {
      state: 'stopped',
      pid: undefined,
      startedAt: undefined,
      uptimeMs: undefined,
      address: `127.0.0.1:${spec.port}`,
      checks: undefined,
      differences: [],
      restarts: 0,
    },
  );
});

test('status() of a running process passes every layer, and gives the facts of its start', async (t) => {
  const manager = new ProcessManager(await redisSpec(t, { isHealthy: () => true }));
  const instance = await manager.start();
  const status = await manager.status();
  assert.equal(status.state, 'running');
  assert.deepEqual(layers(status), [true, true, true, true, true, true]);
  assert.deepEqual(
    [status.pid, status.startedAt, status.address],
    [instance.pid, instance.startedAt, instance.address],
  );
  assert.ok(Number(status.uptimeMs) >= 0 && Number(status.uptimeMs) < 10_000, String(status.uptimeMs));
  assert.equal('usage' in status, false);
  assert.equal(await manager.isRunning(), true);
});

test('status() of a running process without port and health check leaves these two layers undefined', async (t) => {
  const { port: _, ...spec } = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  const status = await manager.status();
  assert.equal(status.state, 'running');
  assert.deepEqual(layers(status), [true, true, true, true, undefined, undefined]);
  assert.equal(status.address, undefined);
});

test('status() shows an IPv6 address in brackets', async (t) => {
  const spec = await redisSpec(t, { host: '::1' });
  assert.equal((await new ProcessManager(spec).status()).address, `[::1]:${spec.port}`);
});

test('the state is "starting" until the checks pass for the first time', async (t) => {
  let isWell = false;
  const spec = await redisSpec(t, { isHealthy: () => isWell, startTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const started = manager.start();
  await logged(manager.spec.logFile, /Ready to accept connections/);
  // Where the process is looked up with ps(1), the server can be up before its PID file is written.
  await eventually('the PID file exists', () => existsSync(manager.spec.pidFile));
  const status = await new ProcessManager(spec).status();
  assert.equal(status.state, 'starting');
  assert.deepEqual(layers(status), [true, true, true, true, true, false]);
  isWell = true;
  assert.equal((await started).pid, status.pid);
  assert.equal((await manager.status()).state, 'running');
});

test('the state is "starting" while a start has the lock and has spawned nothing, until its start time is over', async (t) => {
  const { spec } = new ProcessManager(await redisSpec(t, { startTimeoutMs: 30_000 }));
  using _lock = acquireLock(spec.lockFile);
  assert.equal((await new ProcessManager(spec).status()).state, 'unknown', 'the journal has no start');
  appendToJournal(spec, 'start');
  const status = await new ProcessManager(spec).status();
  assert.deepEqual(
    [status.state, status.pid, layers(status)],
    ['starting', undefined, [true, false, false, undefined, undefined, undefined]],
  );
  appendToJournal(spec, 'start', { at: new Date(Date.now() - 31_000).toISOString() });
  assert.equal((await new ProcessManager(spec).status()).state, 'unknown');
});

test('the state is "stopping", and never "running", while a stop is under way', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const stopped = manager.stop();
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  const status = await callElsewhere<Status>(t, 'status', spec);
  assert.deepEqual([status.state, status.pid], ['stopping', pid]);
  assert.equal(await manager.isRunning(), false);
  process.kill(pid, 'SIGKILL');
  assert.equal((await stopped).outcome, 'stopped');
  assert.equal((await manager.status()).state, 'stopped');
});

test('without a PID file status() finds the holder, and the layer of the PID file is false', async (t) => {
  for (const spec of [await redisSpec(t), await nodeSpec(t), await pythonSpec(t)]) {
    const manager = new ProcessManager(spec);
    const { pid } = await manager.start();
    unlinkSync(manager.spec.pidFile);
    const status = await callElsewhere<Status>(t, 'status', spec);
    assert.deepEqual([status.state, status.pid], ['running', pid], spec.name);
    assert.deepEqual(layers(status).slice(0, 5), [true, false, true, true, true]);
    assert.equal(existsSync(manager.spec.pidFile), false, 'status writes nothing');
    assert.equal((await manager.stop()).outcome, 'stopped');
  }
});

test('the state is "unknown" while a program that is not ours holds the lock, and that program stays alive', async (t) => {
  const { spec } = new ProcessManager(await redisSpec(t));
  acquireLock(spec.lockFile).release();
  // flock(1) waits for the lock, so a probe of ours at that moment does not make it fail.
  const stranger = startProgram(t, 'flock', ['--no-fork', spec.lockFile, 'sleep', '300']);
  await eventually('the stranger holds the lock', async () => (await new ProcessManager(spec).status()).checks.lock);
  await eventually('the stranger has become sleep', () => argumentsOf(stranger.pid)[0] === 'sleep');
  const status = await new ProcessManager(spec).status();
  assert.deepEqual([status.state, status.pid], ['unknown', undefined]);
  assert.deepEqual(layers(status), [true, false, true, false, undefined, undefined]);
  assert.equal(isRunning(stranger.pid), true);
  stranger.kill();
  await stranger.ended();
});

test('usage gives percent of a core and of memory, for a running process only', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  assert.equal('usage' in (await manager.status({ usage: true })), false);
  await manager.start();
  const { usage, state } = await manager.status({ usage: true });
  assert.equal(state, 'running');
  assert.ok(usage !== undefined && usage.cpu >= 0 && usage.memory >= 0 && usage.memory < 100, JSON.stringify(usage));
});

test('status writes nothing, whatever the state', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  // This manager has a start time of 1 ms, so a failed check means unhealthy, not starting.
  const asking = new ProcessManager({ ...spec, startTimeoutMs: 1 });
  const unchanged = async (what: string) => {
    const before = snapshot(spec.stateDir);
    await asking.status({ usage: true });
    await asking.isRunning();
    assert.deepEqual(snapshot(spec.stateDir), before, what);
  };
  mkdirSync(spec.stateDir, { mode: 0o700 });
  await unchanged('never ran');
  const { pid } = await manager.start();
  await logged(manager.spec.logFile, /Ready to accept connections/); // redis writes this line last by itself.
  await unchanged('running');
  process.kill(pid, 'SIGSTOP');
  await reachesState(pid, 'T');
  await unchanged('suspended');
  writeFileSync(manager.spec.pidFile, 'noise');
  await unchanged('with noise for a record');
  let isTold = false;
  manager.once('exit', () => {
    isTold = true;
  });
  process.kill(pid, 'SIGKILL');
  await eventually('the exit is told, and is in the journal by then', () => isTold);
  await unchanged('dead');
  await manager.stop();
  await unchanged('stopped');
  rmSync(manager.spec.lockFile);
  await unchanged('without a lock file');
});

test('status answers at once while another process asks all the time, and neither sees the probe of the other', async (t) => {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const asking = new AbortController();
  const asker = (async () => {
    while (!asking.signal.aborted) assert.equal((await callElsewhere<Status>(t, 'status', spec)).state, 'stopped');
  })();
  const end = performance.now() + STILL_MS;
  for (let looks = 0; looks < 5 || performance.now() < end; looks += 1) {
    assert.equal((await manager.status()).state, 'stopped');
    await delay(0);
  }
  asking.abort();
  await asker;
});

test('status() works in a read-only state folder, whether a stop is pending or not, and changes nothing', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/x" 2>/dev/null && exec "$@"';
  const wrapper = ['unshare', '--mount', 'sh', '-c', script, spec.stateDir];
  const before = snapshot(spec.stateDir);
  const running = await callElsewhere<Status>(t, 'status', spec, { wrapper });
  assert.deepEqual([running.state, running.pid], ['running', pid]);
  assert.deepEqual(snapshot(spec.stateDir), before);

  appendToJournal(spec, 'stop');
  const stopping = await callElsewhere<Status>(t, 'status', spec, { wrapper });
  assert.deepEqual([stopping.state, stopping.pid], ['stopping', pid]);

  await manager.stop();
  const stopped = await callElsewhere<Status>(t, 'status', spec, { wrapper });
  assert.deepEqual([stopped.state, stopped.pid], ['stopped', undefined]);
});
