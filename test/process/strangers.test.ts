import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isLocked, lockHolders, ProcessManager, type ProcessSpec, type StopResult } from '../../src/index.js';
import type { Report } from '../fixtures/reused-pid.js';
import { startBystanders } from '../helpers/bystanders.js';
import { isRunningProcess, startTicks, watchSignals } from '../helpers/evidence.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { fixture, plainFixture } from '../helpers/paths.js';
import { startPowerlessManager } from '../helpers/powerless.js';
import { startProgram } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';
import { statusField } from '../helpers/tied.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** The original process.kill(), for use while the calls of the library are watched. */
const kill = process.kill.bind(process);

const NOBODY = 65_534;

interface Scene {
  spec: ProcessSpec & { port: number };
  lockFile: string;
  pidFile: string;
}

type Stranger = (t: TestContext, scene: Scene) => Promise<number[]>;

/** Each stranger takes the lock, and returns the PIDs that must not be signalled. */
const strangers: Record<string, Stranger> = {
  'flock(1) with a job': (t, { lockFile }) => flockJob(t, lockFile),
  'flock(1) with a job, beside the PID file of a dead process': async (t, { lockFile, pidFile }) => {
    const dead = startProgram(t, 'true');
    await dead.ended();
    writeFileSync(pidFile, `${dead.pid}\nredis-server\n1700000000\n`);
    return await flockJob(t, lockFile);
  },
  'flock(1) with a job, whose PID file is in the place of ours': async (t, { lockFile, pidFile }) => {
    const pids = await flockJob(t, lockFile);
    writeFileSync(pidFile, `${startProgram(t, 'sleep', ['300']).pid}\n`);
    return pids;
  },
  'another program with this library': async (t, { lockFile }) => {
    const agent = startLockAgent(t);
    await agent.acquire(lockFile);
    return [agent.program.pid];
  },
};

test('a stranger that holds the lock is never signalled', { concurrency: true }, async (t) => {
  const signals = watchSignals(t);
  const all = new Set<number>();
  await Promise.all(
    Object.entries(strangers).map(([name, hold]) =>
      t.test(name, async (t) => {
        const { scene, pids, end } = await begin(t, hold);
        for (const pid of pids) all.add(pid);
        const ticks = pids.map(startTicks);
        const manager = new ProcessManager(scene.spec);
        const { checks } = await eventually('status() reports "unknown"', async () => {
          const status = await manager.status();
          return status.state === 'unknown' ? status : undefined;
        });
        assert.deepEqual([checks.lock, checks.pidFile, checks.identity === true], [true, false, false]);
        assert.equal(await manager.isRunning(), false);
        await assert.rejects(manager.start(), { name: 'UnhealthyError', message: /could not be identified/ });
        await assert.rejects(manager.stop(), { name: 'StopTimeoutError', holders: pids });
        assert.deepEqual(pids.map(startTicks), ticks);
        assert.deepEqual(await lockHolders(scene.lockFile), pids);
        await end();
        const { pid, reused } = await new ProcessManager({ ...scene.spec, startTimeoutMs: 10_000 }).start();
        assert.deepEqual([await redisPid(scene.spec.port), reused], [pid, false]);
      }),
    ),
  );
  assert.deepEqual(
    signals.targets().filter((target) => all.has(target)),
    [],
  );
});

if (process.getuid?.() === 0) {
  test('the process of another user that holds the lock and cannot be seen gives the state "unknown", and lives on', async (t) => {
    const { scene, pids, end } = await begin(t, (t, { lockFile }) => flockJob(t, lockFile, NOBODY));
    const manager = await startPowerlessManager(t, scene.spec);
    await eventually('status() reports "unknown"', async () => (await manager.status()).state === 'unknown');
    await assert.rejects(manager.start(), { name: 'UnhealthyError' });
    await assert.rejects(manager.stop(), { name: 'StopTimeoutError', holders: [] });
    assert.ok(pids.every(isRunningProcess));
    await end();
    assert.equal((await new ProcessManager(scene.spec).start()).reused, false);
  });
}

test('the server of another manager is not touched when its PID file was copied over ours', async (t) => {
  const bystanders = await startBystanders(t);
  const signals = watchSignals(t);
  const manager = new ProcessManager(await redisSpec(t));
  const copy = () => copyFileSync(bystanders.managed.pidFile, manager.spec.pidFile);
  mkdirSync(manager.spec.stateDir);

  copy();
  assert.equal((await manager.status()).state, 'stopped');
  assert.equal((await manager.stop()).outcome, 'not-running');
  copy();
  const { pid, reused } = await manager.start();
  assert.equal(reused, false);
  assert.notEqual(pid, bystanders.managed.pid);
  copy();
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
  assert.equal((await manager.start()).pid, pid);
  copy();
  const next = await manager.restart();
  copy();
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.deepEqual([pid, next.pid].map(isRunningProcess), [false, false]);
  copy();
  assert.equal((await manager.status()).state, 'stopped');
  assert.deepEqual(signals.targets(), [pid, next.pid]);
  await bystanders.assertUnharmed();
});

test('the server of another manager that lost its lock file is not taken for ours when its PID file was copied over ours', async (t) => {
  const other = new ProcessManager(await redisSpec(t));
  const { pid } = await other.start();
  const ours = new ProcessManager(await redisSpec(t));
  await ours.start();
  await ours.stop();
  copyFileSync(other.spec.pidFile, ours.spec.pidFile);
  unlinkSync(other.spec.lockFile);
  assert.equal((await ours.status()).state, 'stopped');
  assert.equal((await ours.stop()).outcome, 'not-running');
  copyFileSync(other.spec.pidFile, ours.spec.pidFile);
  assert.equal((await ours.start()).reused, false);
  assert.equal(isRunningProcess(pid), true);
  assert.equal((await other.status()).state, 'unhealthy');
});

test('the server of another manager survives when its PID file is copied over ours and both log to /dev/null', async (t) => {
  const spec = sleepSpec(t, { logFile: '/dev/null' });
  const [ours, theirs] = ['ours', 'theirs'].map((name) => new ProcessManager({ ...spec, name }));
  if (ours === undefined || theirs === undefined) assert.fail();
  t.after(() => Promise.all([ours.stop(), theirs.stop()]));
  await ours.start();
  await ours.stop();
  const { pid } = await theirs.start();
  copyFileSync(theirs.spec.pidFile, ours.spec.pidFile);
  assert.equal((await ours.status()).state, 'stopped');
  const started = await ours.start();
  assert.equal(started.reused, false);
  assert.notEqual(started.pid, pid);
  copyFileSync(theirs.spec.pidFile, ours.spec.pidFile);
  await ours.stop();
  assert.deepEqual([pid, started.pid].map(isRunningProcess), [true, false]);
  await theirs.stop();
});

const needs = { skip: unlessCapable('sys_admin') };

test('a stop does not signal a group whose number was given to another process meanwhile', needs, async (t) => {
  const folder = temporaryFolder(t);
  const args = [plainFixture('asked-to-end.py'), folder];
  const spec = sleepSpec(t, { command: 'python3', args, stopTimeoutMs: 2_000 });
  const command = [process.execPath, fixture('reused-pid'), JSON.stringify(spec), folder];
  const { stdout, stderr } = await startProgram(t, 'unshare', [
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    ...command,
  ]).ended();
  assert.notEqual(stdout, '', stderr);
  const { server, stranger, strangerState, outcome } = JSON.parse(stdout) as Report;
  assert.equal(stranger, server);
  assert.equal(strangerState, 'S');
  assert.equal(JSON.parse(outcome).result.outcome, 'stopped');
});

test('a stop inside a PID namespace signals neither process 1 nor all processes', needs, async (t) => {
  const args = ['--pid', '--fork', '--mount-proc', 'setsid', 'sleep', '300'];
  const spec = sleepSpec(t, { name: 'namespace', command: 'unshare', args, stopTimeoutMs: 300 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const first = await eventually('process 1 of the namespace holds the lock', async () => {
    const inner = (await lockHolders(manager.spec.lockFile)).find((holder) => holder !== pid);
    return inner !== undefined && statusField(inner, 'Name') === 'sleep' ? inner : undefined;
  });
  assert.match(statusField(first, 'NSpid'), /\t1$/);
  const wrapper = ['nsenter', '--target', String(first), '--pid', '--mount'];
  const bystander = startProgram(t, 'nsenter', [...wrapper.slice(1), 'sh', '-c', 'echo up; exec sleep 300']);
  await bystander.printed(/up/);
  const ticks = startTicks(first);
  await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, { wrapper }), {
    name: 'StopTimeoutError',
    holders: [1],
  });
  const early = await Promise.race([
    bystander.exited,
    new Promise((resolve) => setTimeout(resolve, STILL_MS, 'lives')),
  ]);
  assert.equal(early, 'lives');
  assert.equal(startTicks(first), ticks);
  assert.equal((await manager.stop()).outcome, 'killed');
  assert.deepEqual([pid, first].map(isRunningProcess), [false, false]);
});

/** Starts the stranger, and ends it after the test, before the hook of the spec stops the holder of the lock. */
async function begin(t: TestContext, hold: Stranger): Promise<{ scene: Scene; pids: number[]; end(): Promise<void> }> {
  let end = async () => {};
  t.after(() => end());
  const spec = await redisSpec(t, { startTimeoutMs: 400 });
  const scene = { spec, lockFile: join(spec.stateDir, 'redis.lock'), pidFile: join(spec.stateDir, 'redis.pid') };
  mkdirSync(spec.stateDir);
  for (const folder of [spec.stateDir, join(spec.stateDir, '..')]) chmodSync(folder, 0o711);
  writeFileSync(scene.lockFile, '');
  chmodSync(scene.lockFile, 0o666);
  const pids = await hold(t, scene);
  const ticks = pids.map(startTicks);
  end = async () => {
    end = async () => {};
    for (const [index, pid] of pids.entries()) if (startTicks(pid) === ticks[index]) kill(pid, 'SIGKILL');
    await eventually('the lock is free', () => !isLocked(scene.lockFile));
  };
  return { scene, pids, end: () => end() };
}

async function flockJob(t: TestContext, lockFile: string, uid?: number): Promise<number[]> {
  const options = uid === undefined ? {} : { uid, gid: uid };
  startProgram(t, 'setsid', ['flock', lockFile, 'sleep', '300'], options);
  return await eventually('the job holds the lock', async () => {
    const pids = await lockHolders(lockFile);
    return pids.length === 2 ? pids : undefined;
  });
}
