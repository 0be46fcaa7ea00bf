import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager } from '../../src/index.js';
import { Gate, outcomeOf } from '../helpers/gate.js';
import { journalEntries } from '../helpers/journal.js';
import { seededRandom } from '../helpers/random.js';
import { RemoteError, startRemoteManager } from '../helpers/remote-manager.js';
import { rounds } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { FILE_CLOCK_MS, startTimedManagers, type TimedManager } from '../helpers/timed-manager.js';
import { eventually } from '../helpers/waiting.js';
import { type Witness, witnessedServer } from '../helpers/witness.js';

/** Temporal takes 1.3 to 1.5 s to end after SIGTERM, and accepts connections during this time. */
const DYING_MS = 1_500;

/** Each lane has a server of its own. The lanes run side by side, since a round mostly waits for a server to end. */
const LANES = 3;

async function inLanes(count: number, run: (rounds: number) => Promise<void>): Promise<void> {
  const perLane = Array.from({ length: LANES }, (_, lane) => Math.floor((count + lane) / LANES));
  const results = await Promise.allSettled(perLane.map(run));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** The time at which the last stop wrote its line. */
function stopBeganAt({ spec }: Witness): number {
  return Date.parse(journalEntries(spec, 'stop').at(-1)?.at ?? '');
}

function isStopPending({ spec }: Witness): boolean {
  return journalEntries(spec, 'start', 'stop').at(-1)?.event === 'stop';
}

test('a start during a stop never returns the process that is being stopped, but a new one', async (t) => {
  const random = seededRandom(t);
  await inLanes(rounds(30, { least: LANES }), async (count) => {
    const server = await witnessedServer(t, { dieAfterMs: DYING_MS });
    const [starter, stopper] = (await startTimedManagers(t, server.spec, 2)) as [TimedManager, TimedManager];
    let { pid } = await starter.start();
    for (let round = 1; round <= count; round += 1) {
      const stopped = stopper.stop();
      await eventually('the stop is in the journal', () => isStopPending(server), { everyMs: 1 });
      await delay(random.between(0, DYING_MS));
      const next = await starter.start();
      assert.notEqual(next.pid, pid);
      assert.equal(next.reused, false);
      assert.equal((await stopped).outcome, 'stopped');
      assert.deepEqual(server.alive(), [next.pid]);
      assert.equal((await starter.status()).state, 'running');
      pid = next.pid;
    }
    server.assertNeverTwo();
  });
});

test('a start that is called together with a stop returns the process from before the stop or a new one, or throws StoppedError', async (t) => {
  const random = seededRandom(t);
  const server = await witnessedServer(t, { dieAfterMs: 150 });
  const [starter, stopper] = (await startTimedManagers(t, server.spec, 2)) as [TimedManager, TimedManager];
  const seen = { same: 0, new: 0, StoppedError: 0 };
  for (let round = 1; round <= rounds(50); round += 1) {
    const before = await starter.start();
    const [started, stopped] = await Promise.allSettled([
      delay(random.between(0, 3)).then(() => starter.start()),
      delay(random.between(0, 3)).then(() => stopper.stop()),
    ]);
    assert.equal(stopped.status, 'fulfilled');
    if (started.status === 'rejected') {
      assert.equal(started.reason.name, 'StoppedError');
      seen.StoppedError += 1;
      await server.assertNothingThere();
    } else if (started.value.pid === before.pid) {
      assert.ok(started.value.at < stopBeganAt(server) + FILE_CLOCK_MS, 'the start had ended when the stop began');
      seen.same += 1;
      await server.assertNothingThere();
    } else {
      assert.deepEqual(server.alive(), [started.value.pid]);
      seen.new += 1;
    }
  }
  t.diagnostic(JSON.stringify(seen));
  server.assertNeverTwo();
});

test('a stop ends every unfinished start with StoppedError, and no process comes up afterwards', async (t) => {
  const random = seededRandom(t);
  const seen = { through: 0, StoppedError: 0 };
  await inLanes(rounds(30, { least: LANES }), async (count) => {
    const server = await witnessedServer(t, { listenAfterMs: 200, dieAfterMs: 400 });
    const [stopper, ...starters] = (await startTimedManagers(t, server.spec, 4)) as [TimedManager, ...TimedManager[]];
    for (let round = 1; round <= count; round += 1) {
      const calls = starters.map((starter) => starter.start());
      const settled = Promise.allSettled(calls);
      await Promise.all(starters.map((starter) => starter.hasCalled()));
      await delay(random.between(0, 400));
      await stopper.stop();
      const stopBegan = stopBeganAt(server);
      for (const call of await settled) {
        if (call.status === 'fulfilled') {
          const lateMs = call.value.at - stopBegan;
          assert.ok(lateMs < FILE_CLOCK_MS, `round ${round}: through ${lateMs} ms after the stop began`);
          seen.through += 1;
        } else {
          assert.ok(call.reason instanceof RemoteError);
          assert.equal(call.reason.code, 'ERR_STOPPED', call.reason.message);
          seen.StoppedError += 1;
        }
      }
      await server.assertNothingThere();
      assert.equal(isStopPending(server), true, 'no start came after the stop');
    }
    server.assertNeverTwo();
  });
  t.diagnostic(JSON.stringify(seen));
});

test('a stop that is killed half-way delays the next start by no more than a second beyond the end of the server', async (t) => {
  const random = seededRandom(t);
  const delays: number[] = [];
  await inLanes(rounds(30, { least: LANES }), async (count) => {
    const server = await witnessedServer(t, { dieAfterMs: 500 });
    const starter = await startRemoteManager(t, server.spec);
    let { pid } = await starter.start();
    for (let round = 1; round <= count; round += 1) {
      const stopper = await startRemoteManager(t, server.spec);
      const stopped = stopper.stop().catch(() => undefined);
      await delay(random.between(0, 600));
      stopper.kill();
      await stopped;
      const calledAt = performance.now();
      const next = timed(starter.start());
      let over = false;
      const endOrReply = eventually('the server has ended, or the start has returned', () =>
        over || !server.alive().includes(pid) ? performance.now() : 0,
      );
      const { at, result } = await next;
      over = true;
      if (result.pid !== pid) delays.push(at - Math.max(calledAt, await endOrReply));
      else assert.equal(isStopPending(server), false, 'the stop had not begun');
      assert.deepEqual(server.alive(), [result.pid]);
      pid = result.pid;
    }
    server.assertNeverTwo();
  });
  t.diagnostic(`longest: ${Math.max(...delays).toFixed()} ms, in ${delays.length} rounds`);
  const median = delays.toSorted((one, other) => one - other)[Math.floor(delays.length / 2)] ?? 0;
  // A busy machine can delay a single start by a second, but not half of them. A start that waits for a dead stopper takes ten.
  assert.ok(median < 1_000 && Math.max(...delays) < 5_000, `${delays.map(Math.round)}`);
});

async function timed<T>(call: Promise<T>): Promise<{ result: T; at: number }> {
  return { result: await call, at: performance.now() };
}

for (const command of ['false', 'sleep']) {
  test(`a start that began before a stop ends with StoppedError, although a later start (${command}) undid the stop`, async (t) => {
    const gate = new Gate();
    const spec = sleepSpec(t, { checkTimeoutMs: LONG_MS, startTimeoutMs: LONG_MS, isHealthy: () => true });
    const manager = new ProcessManager(spec);
    await manager.start();
    const older = new ProcessManager({
      ...spec,
      isHealthy: async (instance) => {
        await gate.pass(instance);
        return false;
      },
    });
    const olderStart = outcomeOf(older.start());
    await gate.asked;
    await manager.stop();
    const later = await outcomeOf(
      new ProcessManager({ ...spec, command, isHealthy: () => command === 'sleep' }).start(),
    );
    assert.equal(later instanceof Error ? later.name : later.reused, command === 'false' ? 'EarlyExitError' : false);
    gate.open();
    const outcome = await olderStart;
    assert.equal(outcome instanceof Error && outcome.name, 'StoppedError');
    assert.equal(isLocked(manager.spec.lockFile), command === 'sleep');
  });
}

const LONG_MS = 60_000;
