/** The age of a process, and what depends on it, is right after a laptop has slept and after its clock was set. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { uptime as systemUptime } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess, startTicks } from '../helpers/evidence.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { logged } from '../helpers/outside-view.js';
import { fixture, plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { RemoteManager, startRemoteManager } from '../helpers/remote-manager.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, sleepSpec } from '../helpers/servers.js';
import { ShiftedClocks } from '../helpers/shifted-clocks.js';
import { eventually } from '../helpers/waiting.js';

/** This is longer than any start below may take. */
const SLEEP_MS = 3_000;

const HOUR_MS = 3_600_000;

type Test = Parameters<typeof temporaryFolder>[0];

/** Starts a manager in a process whose machine has slept once since the process loaded the library. */
async function managerThatSlept(t: Test, spec: ProcessSpec): Promise<RemoteManager> {
  const clocks = new ShiftedClocks(t);
  const manager = await startRemoteManager(t, spec, { env: clocks.env });
  await clocks.sleep(manager.program, SLEEP_MS);
  return manager;
}

/** Asserts that the age fits the boot clock, with 100 ms for clock ticks and for the time between two readings. */
function assertAge(uptimeMs: number | undefined, { pid, before }: { pid: number; before: number }): void {
  const age = Number(uptimeMs);
  const least = before - bootMs(pid) - 100;
  const most = nowMs() - bootMs(pid) + 100;
  assert.ok(age >= least && age <= most, `${age} ms, not in ${least}..${most}`);
}

const bootMs = (pid: number) => Number(startTicks(pid)) * 10;

/** The time by CLOCK_BOOTTIME, which the kernel takes for the start time of a process. */
function nowMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n) + BOOT_OFFSET_MS;
}

/** How far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: the time that this machine has slept since it was booted. */
const BOOT_OFFSET_MS = sinceBootMs() - Number(process.hrtime.bigint() / 1_000_000n);

/** process.uptime() lacks the time between fork(2) and the start of Node, and /proc/uptime can be that of a container. */
function sinceBootMs(): number {
  return Math.max(bootMs(process.pid) + process.uptime() * 1_000, systemUptime() * 1_000);
}

test('after a sleep of the machine a process without checks is ready within its start time, and its age is right', async (t) => {
  const manager = await managerThatSlept(t, sleepSpec(t, { startTimeoutMs: 2_500 }));
  const { pid } = await manager.start();
  const before = nowMs();
  const { state, uptimeMs } = await manager.status();
  assert.equal(state, 'running');
  assertAge(uptimeMs, { pid, before });
});

test('a process that ran while the machine slept is older by the time of that sleep', async (t) => {
  const spec = sleepSpec(t);
  const clocks = new ShiftedClocks(t);
  const manager = await startRemoteManager(t, spec, { env: clocks.env });
  const { pid } = await manager.start();
  for (let sleeps = 1; sleeps <= 2; sleeps += 1) {
    await clocks.sleep(manager.program, 1_000);
    const before = nowMs();
    assertAge((await manager.status()).uptimeMs, { pid, before });
  }
});

test('after a sleep of the machine a server that is unhealthy from its start does not stay "starting"', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': HOUR_MS }, { startTimeoutMs: 500 });
  const manager = await managerThatSlept(t, spec);
  const starter = await startRemoteManager(t, { ...spec, startTimeoutMs: HOUR_MS });
  starter.start().catch(() => undefined);
  const pid = Number((await logged(join(spec.stateDir, 'logs/node-server.log'), /server (\d+)/))[1]);
  starter.kill();
  await starter.program.exited;
  await eventually('the process is too old to be starting', () => nowMs() - bootMs(pid) > 700);
  assert.equal((await manager.status()).state, 'unhealthy');
});

test('a library that is loaded after the machine slept knows the age of a process', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 2_500 });
  const clocks = new ShiftedClocks(t);
  const BEGIN_FILE = join(temporaryFolder(t), 'begin');
  const program = startProgram(
    t,
    process.execPath,
    ['--import', plainFixture('import-when-told.mjs'), fixture('remote-manager'), JSON.stringify(spec)],
    { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: { ...clocks.env, BEGIN_FILE } },
  );
  await clocks.sleep(program, SLEEP_MS);
  const manager = new RemoteManager(program);
  writeFileSync(BEGIN_FILE, '');
  await eventually('the manager is up', () => manager.events.length > 0);
  const { pid } = await manager.start();
  const before = nowMs();
  assertAge((await manager.status()).uptimeMs, { pid, before });
});

test('a sleep of the machine does not change the age of a process in a container with its own /proc/uptime', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 2_500 });
  const clocks = new ShiftedClocks(t);
  const uptime = join(temporaryFolder(t), 'uptime');
  await startProgram(t, 'python3', [plainFixture('container-uptime.py'), uptime]).printed(/written/);
  const words = ['--mount', 'sh', '-c', 'mount --bind "$0" /proc/uptime && exec "$@"', uptime];
  const command = [process.execPath, fixture('remote-manager'), JSON.stringify(spec)];
  const stdio: ('ignore' | 'pipe' | 'ipc')[] = ['ignore', 'pipe', 'pipe', 'ipc'];
  const began = nowMs();
  const manager = new RemoteManager(startProgram(t, 'unshare', [...words, ...command], { stdio, env: clocks.env }));
  await eventually('the manager is up', () => manager.events.length > 0);
  // Beside a foreign /proc/uptime the manager does not know the time that passed before its Node began.
  const unknownMs = nowMs() - began;
  await clocks.sleep(manager.program, SLEEP_MS);
  const { pid } = await manager.start();
  const before = nowMs();
  const { state, uptimeMs } = await manager.status();
  assert.equal(state, 'running');
  assertAge(uptimeMs, { pid, before: before - unknownMs });
});

for (const [direction, byMs] of [
  ['forward', HOUR_MS],
  ['back', -HOUR_MS],
] as const) {
  test(`a clock that is set ${direction} changes neither the age of a process nor the state of one that is being started`, async (t) => {
    const spec = sleepSpec(t);
    const clocks = new ShiftedClocks(t);
    const manager = await startRemoteManager(t, spec, { env: clocks.env });
    const { pid } = await manager.start();
    clocks.setWallClock(byMs);
    const before = nowMs();
    assertAge((await manager.status()).uptimeMs, { pid, before });
    await manager.stop();

    // This start is under way and has spawned nothing yet: it waits for the lock of its port.
    const TMPDIR = temporaryFolder(t);
    const begun = { ...spec, port: await freePort(), startTimeoutMs: HOUR_MS / 2 };
    using _ = acquireLock(join(TMPDIR, `flock-process-${process.getuid?.()}`, `port-${begun.port}.lock`));
    const starter = await startRemoteManager(t, begun, { env: { ...process.env, TMPDIR } });
    const started = assert.rejects(starter.start(), { name: 'StoppedError' });
    await eventually('the start is in progress', async () => (await starter.status()).state === 'starting');
    const onlooker = await startRemoteManager(t, begun, { env: clocks.env });
    assert.equal((await onlooker.status()).state, 'starting');
    const hasty = await startRemoteManager(t, { ...begun, startTimeoutMs: 100 }, { env: clocks.env });
    await eventually('the start time is over', async () => (await hasty.status()).state === 'unknown');
    await starter.stop();
    await started;
  });
}

test('a process without checks becomes ready in a container whose /proc/uptime counts from the start of the container', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const uptime = join(spec.stateDir, '..', 'uptime');
  writeFileSync(uptime, '5.00 5.00\n');
  const wrapper = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /proc/uptime && exec "$@"', uptime];
  const { pid } = await callElsewhere<{ pid: number }>(t, 'start', spec, { wrapper });
  const { state } = await callElsewhere<{ state: string }>(t, 'status', spec, { wrapper });
  assert.deepEqual([state, isRunningProcess(pid)], ['running', true]);
});
