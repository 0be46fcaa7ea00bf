/** prepare() provides what must be there before the spawn. Only the start that spawns calls it, under the lock. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager, type ProcessSpec, type SpawnChanges } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { timed } from '../helpers/gate.js';
import { journalEntries, journalFile } from '../helpers/journal.js';
import { onDarwin } from '../helpers/one-call.js';
import { assertNothingLeft } from '../helpers/outside-view.js';
import { startFixture } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';
import { stateAfter, talking } from '../helpers/talker.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

type Prepare = NonNullable<ProcessSpec['prepare']>;

/** A prepare() that ends when the test says so, and remembers what it was given. */
class Preparation {
  calls = 0;
  signal: AbortSignal | undefined;
  /** The time at which its signal was aborted. */
  abortedAt = 0;
  finish: (changes?: SpawnChanges | undefined) => void = () => undefined;
  readonly prepare: Prepare;

  /** @param endsMs how long after the abort it ends; by default it never ends */
  constructor({ endsMs }: { endsMs?: number } = {}) {
    this.prepare = async ({ signal }) => {
      this.calls += 1;
      this.signal = signal;
      return await new Promise<SpawnChanges | undefined>((resolve, reject) => {
        this.finish = resolve;
        signal.addEventListener('abort', () => {
          this.abortedAt = performance.now();
          if (endsMs !== undefined) setTimeout(reject, endsMs, new Error('prepare() gave up'));
        });
      });
    };
  }

  async begun(): Promise<void> {
    await eventually('prepare() is called', () => this.calls > 0);
  }
}

test('prepare is called by the start that spawns, before the spawn, and not for a process that already runs', async (t) => {
  const preparation = new Preparation();
  const spec = await redisSpec(t, { prepare: preparation.prepare });
  const manager = new ProcessManager(spec);
  const starts = [manager.start(), manager.start(), new ProcessManager(spec).start()];
  await preparation.begun();
  assert.equal(await stateAfter(STILL_MS, Promise.race(starts)), 'pending');
  assert.equal(isLocked(manager.spec.lockFile), true);
  assert.deepEqual([(await manager.status()).state, journalEntries(spec, 'spawn').length], ['starting', 0]);
  preparation.finish();
  const instances = await Promise.all(starts);
  assert.equal(new Set(instances.map(({ pid }) => pid)).size, 1);
  assert.equal((await manager.start()).reused, true);
  assert.deepEqual([preparation.calls, preparation.signal?.aborted], [1, false]);
  const events = journalEntries(spec).map(({ event }) => event);
  assert.deepEqual(events, ['start', 'prepared', 'spawn', 'ready']);
});

test('the fields that prepare returns replace those of the spec for this spawn, and the spec stays as it is', async (t) => {
  const { command, args } = talking(['it is ready\n']);
  const changed = { command, args, env: { PREPARED: 'yes' }, cwd: '/' };
  const spec = sleepSpec(t, {
    command: 'no-such-command',
    env: { FROM_SPEC: 'yes' },
    readyLine: 'is ready',
    prepare: () => changed,
  });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  assert.ok(environment.includes('PREPARED=yes') && !environment.includes('FROM_SPEC=yes'));
  assert.deepEqual(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, 3), [command, ...args]);
  assert.equal(manager.spec.command, 'no-such-command');
  assert.equal((await manager.status()).state, 'running');
});

test('the time that prepare takes is no start time, neither for its own start nor for a waiting one in another process', async (t) => {
  const limits = { startTimeoutMs: 1_000, stopTimeoutMs: 100, checkTimeoutMs: 500 };
  const preparation = new Preparation();
  const spec = await redisSpec(t, { ...limits, prepare: preparation.prepare });
  const remote = await startRemoteManager(t, spec);
  const manager = new ProcessManager(spec);
  const start = manager.start();
  await preparation.begun();
  const other = remote.start();
  // This is longer than a start waits for a stranger's lock, and than a start and a stop without prepare() take together.
  assert.equal(await stateAfter(7_000, Promise.race([start, other])), 'pending');
  assert.equal((await remote.status()).state, 'starting');
  preparation.finish();
  const [{ pid, reused }, joined] = await Promise.all([start, other]);
  assert.deepEqual([reused, joined.reused, joined.pid], [false, true, pid]);
  const waiting = remote.events.filter(({ event }) => event === 'waiting').map(({ detail }) => detail);
  assert.deepEqual(waiting[0], { for: 'prepare', pid: process.pid });
  assert.equal(waiting.filter((detail) => (detail as { for: string }).for === 'prepare').length, 1);
});

test('without /proc another process waits for a prepare, too, and goes on when the preparing starter is killed', async (t) => {
  const spec = await redisSpec(t, { startTimeoutMs: 1_000 });
  const starter = startFixture(t, 'calls', [JSON.stringify(spec), 'prepare'], onDarwin);
  await starter.printed(/preparing/);
  const other = await startRemoteManager(t, spec, onDarwin);
  const start = other.start();
  // The waiting start checks every two seconds: twice in this time, and each time after its own start time.
  assert.equal(await stateAfter(4_500, start), 'pending');
  starter.kill();
  assert.equal((await start).reused, false);
  const waiting = other.events.filter(({ event }) => event === 'waiting').map(({ detail }) => detail);
  assert.deepEqual(waiting, [{ for: 'prepare', pid: starter.pid }]);
});

test('a stop from another process ends a start in prepare, and frees the lock', async (t) => {
  const preparation = new Preparation({ endsMs: 0 });
  const spec = await redisSpec(t, { prepare: preparation.prepare });
  const manager = new ProcessManager(spec);
  const start = manager.start();
  start.catch(() => undefined);
  await preparation.begun();
  const remote = await startRemoteManager(t, spec);
  const { tookMs } = await remote.stop();
  assert.ok(tookMs < 1_500, `${tookMs} ms`);
  await assert.rejects(start, { name: 'StoppedError' });
  assert.equal(preparation.signal?.reason.name, 'StoppedError');
  assertNothingLeft(spec);
});

for (const [what, endsMs, least, most] of [
  ['that never ends', undefined, 1_950, 3_500],
  ['that ends a while later', 300, 250, 1_500],
] as const) {
  test(`an aborted start does not wait long for a prepare that ignores its signal and ${what}`, async (t) => {
    const preparation = new Preparation(endsMs === undefined ? {} : { endsMs });
    const spec = await redisSpec(t, { prepare: preparation.prepare });
    const manager = new ProcessManager(spec);
    const abort = new AbortController();
    const start = manager.start({ signal: abort.signal });
    await preparation.begun();
    const reason = new Error('the caller has changed his mind');
    abort.abort(reason);
    const { outcome, ms } = await timed(start);
    assert.equal(outcome, reason);
    assert.equal(preparation.signal?.reason, reason);
    assert.ok(ms >= least && ms < most, `${ms} ms`);
    assert.equal(isLocked(manager.spec.lockFile), false);
    assert.deepEqual(journalEntries(spec, 'prepared', 'spawn'), []);
    // The late result of prepare() has no effect.
    preparation.finish();
    await delay(STILL_MS);
    assert.equal((await manager.status()).state, 'stopped');
  });
}

test('a prepare that takes longer than prepareTimeoutMs fails the start with a StartTimeoutError', async (t) => {
  const preparation = new Preparation({ endsMs: 0 });
  const spec = await redisSpec(t, { prepare: preparation.prepare, prepareTimeoutMs: 200 });
  await assert.rejects(new ProcessManager(spec).start(), {
    name: 'StartTimeoutError',
    timeoutMs: 200,
    message: /prepare\(\) did not come to its end within 200 ms/,
  });
  assert.equal(preparation.signal?.aborted, true);
  assertNothingLeft(spec);
});

test('a prepare with an infinite prepareTimeoutMs works', async (t) => {
  const prepareTimeoutMs = Number.POSITIVE_INFINITY;
  const spec = await redisSpec(t, { prepare: async () => await delay(50), prepareTimeoutMs });
  assert.equal((await new ProcessManager(spec).start()).reused, false);
});

test('the error that prepare throws is the one that start throws, and the next start works', async (t) => {
  const error = new TypeError('fetch failed');
  let calls = 0;
  const prepare = () => {
    calls += 1;
    if (calls === 1) throw error;
  };
  const spec = await redisSpec(t, { prepare });
  const manager = new ProcessManager(spec);
  await assert.rejects(manager.start(), (thrown) => thrown === error);
  assertNothingLeft(spec);
  assert.deepEqual(journalEntries(spec, 'spawn'), []);
  await manager.start();
});

test('a wrong result of prepare is an error that names what is wrong', async (t) => {
  for (const [result, message] of [
    [5, /"the result of prepare\(\)" must be an object, not 5/],
    [{ args: 'one two' }, /what prepare\(\) returned has a wrong "args"/],
    [{ env: { A: 1 } }, /what prepare\(\) returned has a wrong "env.A"/],
    [{ cwd: '/no/such/folder' }, /the working directory "\/no\/such\/folder" does not exist/],
  ] as const) {
    const spec = await redisSpec(t, { prepare: () => result as unknown as SpawnChanges });
    await assert.rejects(new ProcessManager(spec).start(), { message });
    assertNothingLeft(spec);
  }
});

test('a starter that is killed in prepare leaves nothing: the next start prepares and spawns', async (t) => {
  const preparation = new Preparation();
  const spec = await redisSpec(t);
  const starter = startFixture(t, 'calls', [JSON.stringify(spec), 'prepare']);
  await starter.printed(/preparing/);
  const start = new ProcessManager({ ...spec, prepare: preparation.prepare }).start();
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  assert.equal(preparation.calls, 0);
  starter.kill();
  await preparation.begun();
  preparation.finish();
  assert.equal((await start).reused, false);
});

test('a supervisor calls prepare at each restart, and no earlier result counts', async (t) => {
  const supervision = new Supervision(t);
  const pids: number[] = [];
  const results: (SpawnChanges | undefined)[] = [{ env: { ROUND: '1' } }, undefined, { env: { ROUND: '3' } }];
  let calls = 0;
  const prepare = () => {
    calls += 1;
    return results[calls - 1];
  };
  const manager = new ProcessManager(sleepSpec(t, { prepare }));
  manager.on('ready', ({ pid }) => pids.push(pid));
  const supervisor = supervision.add(manager.supervise());
  for (const round of [1, 2, 3]) {
    const pid = await eventually(`the process of round ${round} is ready`, () => pids[round - 1]);
    assert.equal(calls, round);
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    const rounds = environment.filter((variable) => variable.startsWith('ROUND='));
    assert.deepEqual(rounds, round === 2 ? [] : [`ROUND=${round}`]);
    if (round < 3) process.kill(pid, 'SIGKILL');
  }
  await supervisor.stop();
  assert.equal(pids.filter(isRunningProcess).length, 1);
});

test('a secret in a wrong result of prepare does not get into the journal of a supervisor', async (t) => {
  const prepare = () => ({ env: { TOKEN: 'very secret\0' } });
  const manager = new ProcessManager(sleepSpec(t, { prepare }));
  const supervisor = manager.supervise({ giveUpAfter: { restarts: 1 }, backoff: { initialMs: 10 } });
  await assert.rejects(supervisor.done, { name: 'CrashLoopError' });
  const journal = readFileSync(journalFile(manager.spec), 'utf8');
  assert.match(journal, /env\.TOKEN/);
  assert.doesNotMatch(journal, /very secret/);
});
