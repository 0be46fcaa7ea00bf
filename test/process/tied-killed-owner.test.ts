/** An owner of a tied process is killed with SIGKILL. The process does not outlive the owner, whatever it was doing. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { isRunning, logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter, rounds, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { groupEnds, processesNaming, startOwner, watcherOf } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { accepts, livingInGroup, witnessedServer } from '../helpers/witness.js';

/** The time that law 7 allows between the end of the owner and the end of a server that obeys its stop signal. */
const GONE_WITHIN_MS = 1_000;

/** A server that missed its stop signal, or that only SIGKILL ended, takes longer. */
const LOST_SIGNAL_MS = 5_000;

test('an owner that is killed right after the spawn leaves no server', async (t) => {
  const { spec, pids, assertNeverTwo, assertNothingThere } = await witnessedServer(
    t,
    { listenAfterMs: 20 },
    { lifetime: 'tied' },
  );
  const { lockFile } = new ProcessManager(spec).spec;
  const ends: number[] = [];
  let next = startRemoteManager(t, spec);
  for (let round = 1; round <= rounds(100); round += 1) {
    const owner = await next;
    next = startRemoteManager(t, spec);
    const begun = pids().length;
    const starting = owner.start();
    starting.catch(() => undefined);
    if (round % 2 === 0)
      await eventually('the process is spawned', () => owner.events.some(({ event }) => event === 'spawned'));
    else await eventually('another server has started', () => pids().length > begun, { everyMs: 1 });
    owner.kill();
    await owner.program.exited;
    const begin = performance.now();
    // The shell before its exec, and the watcher, name the folder as the server does; the next owner names it too, and
    // is left out.
    // A child that the owner has forked and not yet exec'd looks like an owner, so the lock is checked as well.
    const isGone = () => others(dirname(spec.stateDir)).length === 0 && !isLocked(lockFile);
    await eventually(`no process of round ${round} is left, and the lock is free`, isGone, { everyMs: 2 });
    ends.push(performance.now() - begin);
    await assertNothingThere();
  }
  (await next).kill();
  assertNeverTwo();
  t.diagnostic(
    `${ends.length} owners killed, ${pids().length} servers had begun, the last gone after ${worst(ends)} ms`,
  );
  assert.ok(pids().length >= rounds(100) / 2);
  assertInTime(ends);
});

test('when the owner of a ready server is killed, the server and its watcher end', async (t) => {
  const ends: number[] = [];
  for (let round = 1; round <= rounds(40); round += 1) {
    const spec = await redisSpec(t);
    const owner = await startOwner(t, spec);
    assert.equal(await accepts(spec.port), true);
    owner.program.kill();
    await owner.program.exited;
    ends.push(await groupEnds(owner.pid));
    assert.equal(await accepts(spec.port), false);
  }
  t.diagnostic(`${ends.length} owners killed, the last group gone after ${worst(ends)} ms`);
  assertInTime(ends);
});

test('a server that ignores SIGTERM gets SIGTERM first, and is killed after its grace', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore', child: 'ignore' }, { stopTimeoutMs: 2_000 });
  const owner = await startOwner(t, spec);
  const { logFile } = new ProcessManager(spec).spec;
  await logged(logFile, /up: \d+/);
  const killed = performance.now();
  owner.program.kill();
  await logged(logFile, /ignoring SIGTERM/);
  assert.equal(isRunning(owner.pid), true);
  await groupEnds(owner.pid);
  const ms = performance.now() - killed;
  t.diagnostic(`gone ${Math.round(ms)} ms after the owner was killed, with a grace of 2000 ms`);
  assert.ok(ms >= 2_000, `${ms} ms`);
});

test('a server that is slow to end is given its time', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 300 }, { stopTimeoutMs: 60_000 });
  const owner = await startOwner(t, spec);
  const killed = performance.now();
  owner.program.kill();
  await owner.program.exited;
  await groupEnds(owner.pid);
  const ms = performance.now() - killed;
  assert.ok(ms > 290, `${ms} ms`);
});

test('a suspended server is ended when its owner is killed, too', async (t) => {
  const spec = await redisSpec(t);
  const owner = await startOwner(t, spec);
  process.kill(owner.pid, 'SIGSTOP');
  owner.program.kill();
  await owner.program.exited;
  await groupEnds(owner.pid);
  assert.match(readFileSync(new ProcessManager(spec).spec.logFile, 'utf8'), /SIGTERM/);
});

test('the survivors of a crashed server in its group are ended while its owner lives', async (t) => {
  const spec = await nodeSpec(t, { child: 'ignore' });
  const owner = await startOwner(t, spec);
  await logged(new ProcessManager(spec).spec.logFile, /up: \d+/);
  assert.equal(livingInGroup(owner.pid).length, 3);
  process.kill(owner.pid, 'SIGKILL');
  await groupEnds(owner.pid);
  assert.equal(owner.program.isAlive, true);
});

test('a suspended owner keeps its server, and the server ends when the owner is killed', async (t) => {
  const spec = await redisSpec(t);
  const owner = await startOwner(t, spec);
  owner.program.kill('SIGSTOP');
  const watcher = watcherOf(owner.pid);
  // By then the watcher would have acted: it is already reading its pipe.
  await delay(500);
  assert.deepEqual(livingInGroup(owner.pid).toSorted(), [owner.pid, watcher].toSorted());
  assert.equal((await new ProcessManager(spec).status()).state, 'running');
  owner.program.kill();
  await groupEnds(owner.pid);
});

for (const [stopSignal, number] of [
  ['SIGIOT', 6],
  ['SIGSTKFLT', 16],
] as const) {
  test(`the stop signal ${stopSignal} reaches a tied server whose owner dies`, async (t) => {
    const folder = temporaryFolder(t);
    const args = [plainFixture('asked-to-end.py'), folder];
    const spec = sleepSpec(t, { command: 'python3', args, lifetime: 'tied', stopTimeoutMs: 60_000, stopSignal });
    const { pid, program } = await startOwner(t, spec);
    killAfter(t, pid);
    await eventually('the server is up', () => existsSync(join(folder, 'up')));
    program.kill();
    await eventually('the server has received the stop signal', () => existsSync(join(folder, 'asked')));
    assert.equal(Number(readFileSync(join(folder, 'asked'), 'utf8')), number);
    writeFileSync(join(folder, 'go'), '');
    await eventually('the process has ended', () => !isRunningProcess(pid));
  });
}

function others(folder: string): number[] {
  return processesNaming(folder).filter((pid) => !processesNaming('remote-manager').includes(pid));
}

function worst(times: readonly number[]): number {
  return Math.round(Math.max(...times));
}

/** A busy machine can delay a single end by a second, but not half of them. */
function assertInTime(ends: readonly number[]): void {
  const median = ends.toSorted((one, other) => one - other)[Math.floor(ends.length / 2)] ?? Number.NaN;
  assert.ok(median < GONE_WITHIN_MS && worst(ends) < LOST_SIGNAL_MS, `median ${median} ms, worst ${worst(ends)} ms`);
}
