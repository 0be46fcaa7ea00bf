/** Time limits hold whatever hangs, and count only what they are meant for. Each limit is far from what would be taken without it. */
import assert from 'node:assert/strict';
import { unlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { isLocked, lockHolders, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf } from '../helpers/gate.js';
import { journalFile } from '../helpers/journal.js';
import { callElsewhere } from '../helpers/one-call.js';
import { assertNothingLeft, logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { freePort } from '../helpers/resources.js';
import { nodeSpec, sleepSpec } from '../helpers/servers.js';
import { eventually, MUST_HAPPEN_MS } from '../helpers/waiting.js';

type Test = Parameters<typeof startProgram>[0];

/** A look that hangs takes this long. */
const LOOK_MS = 60_000;

/** The longest that a stop may take with a `stopTimeoutMs` of 0. */
const STOP_LIMIT_MS = 5_000;

/** A port that takes connections, and on which nobody gets an answer. */
async function fullPort(t: Test): Promise<number> {
  const listener = startProgram(t, 'python3', [plainFixture('full-backlog.py')]);
  return Number((await listener.printed(/^(\d+)\n/))[1]);
}

async function within<T>(promise: Promise<T>): Promise<{ outcome: T | Error; ms: number }> {
  const began = performance.now();
  const outcome = await outcomeOf(promise);
  const ms = performance.now() - began;
  assert.ok(ms < MUST_HAPPEN_MS, `${ms} ms`);
  return { outcome, ms };
}

test('a health check that never answers does not outlast startTimeoutMs', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 300, checkTimeoutMs: LOOK_MS, isHealthy: () => new Promise(() => 0) });
  const { outcome } = await within(new ProcessManager(spec).start());
  assert.equal((outcome as Error).name, 'StartTimeoutError');
  assertNothingLeft(spec);
});

test('a start that finds a process whose health check never answers does not outlast startTimeoutMs either', async (t) => {
  const spec = sleepSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  const limits = { startTimeoutMs: 300, checkTimeoutMs: LOOK_MS };
  const asking = new ProcessManager({ ...spec, ...limits, isHealthy: () => new Promise(() => 0) });
  const { outcome } = await within(asking.start());
  assert.equal((outcome as Error).name, 'UnhealthyError');
  assert.equal(isRunningProcess(pid), true);
});

test('a start whose look took all its time looks once more before it says that what it found is not healthy', async (t) => {
  const spec = sleepSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  let looks = 0;
  const isHealthy = () => {
    looks += 1;
    // The machine is busy: nothing else runs in this process meanwhile, and so no time limit ends the look.
    if (looks === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    return looks > 1;
  };
  const found = await new ProcessManager({ ...spec, startTimeoutMs: 300, isHealthy }).start();
  assert.deepEqual([found.pid, found.reused, looks], [pid, true, 2]);
});

/** A server of its own that nobody gets an answer from, and that is never ready before either. */
async function fullServer(t: Test, changes: Partial<ProcessSpec>): Promise<ProcessSpec> {
  const port = await freePort();
  const args = [plainFixture('full-backlog.py'), '127.0.0.1', String(port)];
  return sleepSpec(t, { command: 'python3', args, port, checkTimeoutMs: LOOK_MS, isHealthy: () => false, ...changes });
}

test('a port that never answers does not make a start outlast startTimeoutMs', async (t) => {
  const spec = await fullServer(t, { startTimeoutMs: 1_500 });
  const { outcome } = await within(new ProcessManager(spec).start());
  assert.equal((outcome as Error).name, 'StartTimeoutError');
  assertNothingLeft(spec);
});

test('a start ends at once when it is aborted or stopped while it looks at a port that never answers', async (t) => {
  const spec = await fullServer(t, { startTimeoutMs: LOOK_MS });
  const manager = new ProcessManager(spec);
  const abort = new AbortController();
  const aborted = outcomeOf(manager.start({ signal: abort.signal }));
  await logged(manager.spec.logFile, /^\d+\n/);
  abort.abort(new Error('enough'));
  assert.equal(((await within(aborted)).outcome as Error).message, 'enough');
  assertNothingLeft(spec);

  const stopped = outcomeOf(manager.start());
  await logged(manager.spec.logFile, /^\d+\n\d+\n/);
  await within(manager.stop());
  assert.equal(((await within(stopped)).outcome as Error).name, 'StoppedError');
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('an attempt to connect that gets no answer does not keep the process alive', async (t) => {
  const spec = sleepSpec(t, { checkTimeoutMs: 200 });
  await new ProcessManager(spec).start();
  // With it, it would be asked on the port that it was started with: on none.
  unlinkSync(journalFile(spec));
  // The kernel tries for more than two minutes; callElsewhere() waits until the process is gone, and not that long.
  const { checks } = await callElsewhere<{ checks: { port: boolean } }>(t, 'status', {
    ...spec,
    port: await fullPort(t),
  });
  assert.equal(checks.port, false);
});

test('a stop while a start ends a server that lost its lock file waits until that server is gone', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: LOOK_MS });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  unlinkSync(manager.spec.lockFile);
  const start = outcomeOf(manager.start());
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  // That start would force it much later.
  assert.equal((await new ProcessManager({ ...spec, stopTimeoutMs: 300 }).stop()).outcome, 'killed');
  assert.equal(isRunningProcess(pid), false);
  const outcome = await start;
  assert.equal(outcome instanceof Error && outcome.name, 'StoppedError');
  assert.equal((await manager.status()).state, 'stopped');
});

test('the end of a server that lost its lock file does not count as start time', async (t) => {
  const startTimeoutMs = 2_000;
  let isFirstLook = true;
  const manager = new ProcessManager({
    ...(await nodeSpec(t, { 'on-term': startTimeoutMs + 100 }, { startTimeoutMs, stopTimeoutMs: 10_000 })),
    isHealthy: () => {
      const wasFirst = isFirstLook;
      isFirstLook = false;
      return !wasFirst;
    },
  });
  const first = await manager.start();
  unlinkSync(manager.spec.lockFile);
  isFirstLook = true;
  const { outcome, ms } = await within(manager.start());
  assert.ok(!(outcome instanceof Error), String(outcome));
  assert.ok(ms > startTimeoutMs, `${ms} ms`);
  assert.deepEqual([first.pid, outcome.pid].map(isRunningProcess), [false, true]);
});

test('a stop that finds new holders again and again keeps its limit', async (t) => {
  const spec = sleepSpec(t, { stopTimeoutMs: 100 });
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const { lockFile } = manager.spec;
  const end = `${lockFile}.end`;
  const script = 'while [ ! -e "$1" ]; do flock "$0" sleep 300; done';
  const loops = [1, 2, 3].map(() => startProgram(t, 'sh', ['-c', script, lockFile, end]));
  await eventually('one has the lock', () => isLocked(lockFile));
  try {
    const { outcome } = await within(manager.stop());
    // It can be lucky, between two of them.
    if (outcome instanceof Error) assert.equal(outcome.name, 'StopTimeoutError');
  } finally {
    writeFileSync(end, '');
    await eventually('the end of the loops', async () => {
      for (const pid of await lockHolders(lockFile).catch(() => [])) endHolder(pid);
      return loops.every((loop) => !loop.isAlive);
    });
  }
});

function endHolder(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ESRCH: gone already.
  }
}

test('a stop whose own process does not run again before its time is over sees that everybody is gone', async (t) => {
  const manager = new ProcessManager(sleepSpec(t, { stopTimeoutMs: 0 }));
  await manager.start();
  const kill = process.kill.bind(process);
  t.mock.method(process, 'kill', (pid: number, signal: NodeJS.Signals) => {
    kill(pid, signal);
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STOP_LIMIT_MS + 200) === 'timed-out';
  });
  assert.equal((await manager.stop()).outcome, 'killed');
});
