/** The time that a stop may take, whatever else is under way: 2 × stopTimeoutMs + 5 s. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf, timed } from '../helpers/gate.js';
import { journalEntries, journalFile } from '../helpers/journal.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { assertNothingLeft, logged, reachesState } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';

const STOP_TIMEOUT_MS = 1_000;
const STOP_BOUND_MS = 2 * STOP_TIMEOUT_MS + 5_000;

const forever = () => new Promise<never>(() => undefined);

/** Asserts that a stop succeeds in time although other calls hang; the server itself ends at once. */
async function assertStopped(manager: ProcessManager): Promise<void> {
  const { outcome, ms } = await timed(manager.stop());
  assert.ok(!(outcome instanceof Error), String(outcome));
  assert.ok(ms < STOP_BOUND_MS, `${ms} ms`);
  assertNothingLeft(manager.spec);
}

const HANGING = {
  stopTimeoutMs: STOP_TIMEOUT_MS,
  startTimeoutMs: Number.POSITIVE_INFINITY,
  checkTimeoutMs: Number.POSITIVE_INFINITY,
};

const LEFT_BEHIND = { child: 'session' };

for (const [when, makeSpec, prepare] of [
  ['of its first start', async (t) => sleepSpec(t), async () => undefined],
  [
    'of a process that it found running',
    async (t) => sleepSpec(t),
    async (_t, spec) => void (await new ProcessManager(spec).start()),
  ],
  [
    'of survivors',
    async (t) => await nodeSpec(t, LEFT_BEHIND),
    async (t, spec) => {
      const { pid } = await new ProcessManager(spec).start();
      const [, child] = await logged(join(spec.stateDir, 'logs/node-server.log'), /up: (\d+)/);
      killAfter(t, Number(child));
      process.kill(pid, 'SIGKILL');
      await eventually('the process has ended', () => !isRunningProcess(pid));
    },
  ],
  [
    'of a server that put itself into the background',
    async (t) => await pythonSpec(t, 'daemonise'),
    async () => undefined,
  ],
] satisfies [
  string,
  (t: TestContext) => Promise<ProcessSpec>,
  (t: TestContext, spec: ProcessSpec) => Promise<void>,
][]) {
  for (const how of ['supervised', 'started'] as const) {
    test(`stop() of a manager that ${how} the process does not wait for the health check ${when}`, async (t) => {
      const supervision = new Supervision(t);
      // The port is left out, since the survivors of a dead server do not listen on it.
      const { port: _, ...spec } = await makeSpec(t);
      await prepare(t, spec);
      let asked = false;
      const isHealthy = () => {
        asked = true;
        return forever();
      };
      const manager = new ProcessManager({ ...spec, ...HANGING, isHealthy });
      const started =
        how === 'started' ? outcomeOf(manager.start()) : outcomeOf(supervision.add(manager.supervise()).done);
      await eventually('the health check has begun', () => asked);
      await assertStopped(manager);
      const outcome = await started;
      if (how === 'started') assert.equal(outcome instanceof Error && outcome.name, 'StoppedError', String(outcome));
    });
  }
}

test('stop() does not wait for a hanging check of a supervisor that watches', async (t) => {
  const supervision = new Supervision(t);
  let hangs = false;
  let asked = false;
  const isHealthy = () => {
    asked = hangs;
    return hangs ? forever() : true;
  };
  const manager = new ProcessManager(sleepSpec(t, { ...HANGING, isHealthy }));
  await supervision.here(manager, { checkIntervalMs: 10 });
  hangs = true;
  await eventually('a health check hangs', () => asked);
  await assertStopped(manager);
});

test('stop() does not wait for a supervisor that is ending an unhealthy server', async (t) => {
  const supervision = new Supervision(t);
  let isSick = false;
  const spec = await nodeSpec(t, { 'on-term': 'ignore' });
  const slow = new ProcessManager({ ...spec, stopTimeoutMs: 60_000, isHealthy: () => !isSick });
  const supervisor = await supervision.here(slow, { checkIntervalMs: 10, unhealthyAfter: 1 });
  isSick = true;
  await eventually('the unhealthy server is being ended', () => supervisor.state === 'restarting');
  await logged(slow.spec.logFile, /ignoring SIGTERM/);
  const { ms } = await timed(new ProcessManager({ ...spec, stopTimeoutMs: STOP_TIMEOUT_MS }).stop());
  assert.ok(ms < STOP_BOUND_MS, `${ms} ms`);
});

const MANY = 1_000;

for (const [whose, managers] of [
  ['of one manager', (spec: ProcessSpec) => Array<ProcessManager>(MANY).fill(new ProcessManager(spec))],
  ['of as many managers', (spec: ProcessSpec) => Array.from({ length: MANY }, () => new ProcessManager(spec))],
] as const) {
  for (const [server, behaviour] of [
    ['a server', {}],
    ['a server that ignores its stop signal', { 'on-term': 'ignore' }],
  ] as const) {
    test(`1,000 stops side by side ${whose}, of ${server}, take no longer than a single stop may`, async (t) => {
      const spec = await nodeSpec(t, behaviour, { stopTimeoutMs: STOP_TIMEOUT_MS });
      const { pid } = await new ProcessManager(spec).start();
      const all = managers(spec);
      const began = performance.now();
      const results = await Promise.all(all.map((manager) => manager.stop()));
      const ms = performance.now() - began;
      assert.ok(ms < STOP_BOUND_MS, `${ms} ms`);
      const expected = 'on-term' in behaviour ? 'killed' : 'stopped';
      assert.deepEqual([...new Set(results.map(({ outcome }) => outcome))], [expected]);
      assert.equal(isRunningProcess(pid), false);
    });
  }
}

test('each of two stops side by side keeps its own time bound', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' });
  await new ProcessManager(spec).start();
  const abort = new AbortController();
  const slow = outcomeOf(new ProcessManager({ ...spec, stopTimeoutMs: 60_000 }).stop({ signal: abort.signal }));
  await logged(new ProcessManager(spec).spec.logFile, /ignoring SIGTERM/);
  const { outcome, ms } = await timed(new ProcessManager({ ...spec, stopTimeoutMs: STOP_TIMEOUT_MS }).stop());
  assert.equal((outcome as { outcome: string }).outcome, 'killed');
  assert.ok(ms < STOP_BOUND_MS, `${ms} ms`);
  assert.ok(!((await slow) instanceof Error));
});

test('an aborted stop gives up alone, and the stops beside it go on', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: STOP_TIMEOUT_MS });
  const manager = new ProcessManager(spec);
  await manager.start();
  const abort = new AbortController();
  const aborted = outcomeOf(manager.stop({ signal: abort.signal }));
  const others = [manager.stop(), manager.stop()];
  await logged(manager.spec.logFile, /ignoring SIGTERM/);
  abort.abort(new Error('enough'));
  assert.equal(((await aborted) as Error).message, 'enough');
  for (const { outcome } of await Promise.all(others)) assert.equal(outcome, 'killed');
});

test('a stop that is called shortly before another one gives up has its own time limit', async (t) => {
  const manager = new ProcessManager(sleepSpec(t));
  const daemon = startProgram(t, 'python3', [plainFixture('lock.py'), manager.spec.lockFile, 'ex'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await daemon.printed(/held/);
  const first = outcomeOf(manager.stop());
  // The first stop names the holder of the lock within 5 s.
  await delay(2_000);
  const second = outcomeOf(manager.stop());
  assert.equal(((await first) as Error).name, 'StopTimeoutError');
  daemon.kill();
  await daemon.ended();
  const outcome = await second;
  assert.ok(!(outcome instanceof Error), String(outcome));
});

test('the time in which a stop waits for a locked journal counts towards its time limit', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: 60_000, stopTimeoutMs: 0 });
  const manager = new ProcessManager(spec);
  const portLock = acquireLock(join(tmpdir(), `flock-process-${process.getuid?.()}`, `port-${spec.port}.lock`));
  t.after(() => portLock.release());
  const starter = await startRemoteManager(t, spec);
  const started = outcomeOf(starter.start());
  // The starter keeps the journal locked for an instant after its line.
  await eventually(
    'the start is in the journal',
    () => existsSync(journalFile(spec)) && journalEntries(spec, 'start').length > 0 && !isLocked(journalFile(spec)),
  );
  const keeper = startLockAgent(t);
  await keeper.acquire(journalFile(spec));
  // The suspended starter keeps the process's lock for as long as a stop may take.
  starter.kill('SIGSTOP');
  await reachesState(starter.program.pid, 'T');
  const { outcome, ms } = await timed(manager.stop());
  assert.equal((outcome as Error).name, 'StopTimeoutError');
  assert.ok(ms < 5_500, `${ms} ms`);
  await keeper.kill();
  starter.kill('SIGCONT');
  await started;
});

/** The longest that a stop may take with a `stopTimeoutMs` of 0. */
const STOP_LIMIT_MS = 5_000;

test('a stop whose own process is suspended past its time limit still sees that all processes are gone', async (t) => {
  const manager = new ProcessManager(sleepSpec(t, { stopTimeoutMs: 0 }));
  await manager.start();
  const kill = process.kill.bind(process);
  t.mock.method(process, 'kill', (pid: number, signal: NodeJS.Signals) => {
    kill(pid, signal);
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STOP_LIMIT_MS + 200) === 'timed-out';
  });
  assert.equal((await manager.stop()).outcome, 'killed');
});
