/**
 * Without /proc a program must be run to ask about a process. A start learns of its own child by events, and asks about
 * others asynchronously.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Instance, isLocked, ProcessManager } from '../../src/index.js';
import type { Report } from '../fixtures/blocked-starter.js';
import { callOnDarwin, onDarwin } from '../helpers/one-call.js';
import { isRunning, reachesState } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

test('without /proc a start never blocks its event loop on another program', async (t) => {
  const specs = [
    await redisSpec(t),
    await nodeSpec(t, { 'listen-after': 400 }),
    await redisSpec(t, { lifetime: 'tied' }),
    await redisSpec(t, { lifetime: 'shared' }),
    sleepSpec(t),
  ];
  for (const spec of specs) {
    const starter = startFixture(t, 'blocked-starter', [JSON.stringify(spec)], onDarwin);
    const [line] = await eventually('the starter has reported its starts', () => /^\{.*\}$/m.exec(starter.stdout), {
      withinMs: 60_000,
    });
    const { pid, blockedBy, tookMs, busyMs } = JSON.parse(line) as Report;
    t.diagnostic(`${spec.name} ${spec.lifetime}: busy ${busyMs.toFixed(0)} ms of ${tookMs.toFixed(0)} ms`);
    assert.deepEqual(blockedBy, [], `${spec.name} ${spec.lifetime}`);
    assert.equal(isRunning(pid), true);
    starter.send('stop');
    await starter.ended();
    assert.equal(isRunning(pid), false);
  }
});

test('without /proc a start that waits for another start checks rarely', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 4_000 }, { startTimeoutMs: 60_000 });
  const starting = callOnDarwin<Instance>(t, 'start', spec);
  const { lockFile } = new ProcessManager(spec).spec;
  await eventually('the process is being started', () => isLocked(lockFile));
  const waiting = startFixture(t, 'blocked-starter', [JSON.stringify(spec), 'once'], onDarwin);
  const [line] = await eventually('the starter has reported its start', () => /^\{.*\}$/m.exec(waiting.stdout), {
    withinMs: 60_000,
  });
  const { pid, blockedBy, tookMs } = JSON.parse(line) as Report;
  assert.equal(pid, (await starting).pid);
  const asked = blockedBy.filter((it) => it.startsWith('lsof')).length;
  // Each check calls lsof about four times. An earlier version checked every 25 ms.
  assert.ok(asked <= 4 * (3 + tookMs / 2_000), `${asked} in ${tookMs} ms:\n${blockedBy.join('\n')}`);
});

test('without /proc a server that ends before the first check is an EarlyExitError', async (t) => {
  for (const [command, exitCode] of [
    ['true', 0],
    ['false', 1],
  ] as const) {
    const call = callOnDarwin<Instance>(t, 'start', sleepSpec(t, { command, args: [] }));
    await assert.rejects(call, { name: 'EarlyExitError', exitCode });
  }
});

test('without /proc the exit of a server is reported however early it comes', async (t) => {
  const events: unknown[] = [];
  const manager = new ProcessManager(sleepSpec(t, { command: 'false', args: [] }));
  manager.on('spawned', () => events.push('spawned'));
  manager.on('exit', ({ exitCode }) => events.push(exitCode));
  const { platform } = process;
  // Nothing else runs in this process while it takes its platform for macOS.
  Object.defineProperty(process, 'platform', { value: 'darwin' });
  try {
    await assert.rejects(manager.start(), { name: 'EarlyExitError' });
  } finally {
    Object.defineProperty(process, 'platform', { value: platform });
  }
  assert.deepEqual(events, ['spawned', 1]);
});

test('without /proc a dead process is found dead before its exit event comes', async (t) => {
  const manager = new ProcessManager(sleepSpec(t));
  const { platform } = process;
  Object.defineProperty(process, 'platform', { value: 'darwin' });
  try {
    const { pid } = await manager.start();
    process.kill(pid, 'SIGKILL');
    // The loop blocks the event loop, in which the exit event would come.
    while (isRunning(pid));
    assert.equal((await manager.stop()).outcome, 'not-running');
  } finally {
    Object.defineProperty(process, 'platform', { value: platform });
  }
});

test('without /proc a server that is suspended while it starts is not ready, although the kernel accepts connections for it', async (t) => {
  const script =
    'import os, signal, socket, sys\n' +
    's = socket.create_server(("127.0.0.1", int(sys.argv[1])))\n' +
    'os.kill(os.getpid(), signal.SIGSTOP)\n' +
    'signal.pause()\n';
  const spec = await pythonSpec(t, undefined, { startTimeoutMs: 1_000 });
  const call = callOnDarwin<Instance>(t, 'start', { ...spec, args: ['-c', script, String(spec.port)] });
  await assert.rejects(call, { name: 'StartTimeoutError' });
});

test('without /proc a server that is suspended later is unhealthy, even to the process that started it', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  const { pid } = await manager.start();
  killAfter(t, pid);
  process.kill(pid, 'SIGSTOP');
  await reachesState(pid, 'T');
  const { platform } = process;
  Object.defineProperty(process, 'platform', { value: 'darwin' });
  try {
    assert.equal((await manager.status()).state, 'unhealthy');
    assert.equal((await manager.stop()).outcome, 'stopped');
  } finally {
    Object.defineProperty(process, 'platform', { value: platform });
  }
});

test('without /proc a server that puts itself into the background is followed', async (t) => {
  const spec = await pythonSpec(t, 'daemonise');
  const { pid } = await callOnDarwin<Instance>(t, 'start', spec);
  assert.equal(isRunning(pid), true);
  assert.equal((await new ProcessManager(spec).start()).pid, pid);
});
