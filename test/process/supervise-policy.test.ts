import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ProcessManager, type Status, type SuperviseOptions } from '../../src/index.js';
import { completeSuperviseOptions, countedCrashes, HealthChecks, restartDelayMs } from '../../src/supervise/policy.js';
import { now } from '../../src/support/globals.js';

test('the first restart within the window is immediate, and each further one waits longer, up to the maximum', () => {
  const backoff = { initialMs: 500, factor: 2, maxMs: 3_000 };
  for (const [index, most] of [0, 500, 1_000, 2_000, 3_000, 3_000].entries()) {
    const delays = Array.from({ length: 200 }, () => restartDelayMs(index + 1, backoff));
    assert.ok(delays.every((delay) => delay <= most && delay >= most * 0.8));
    assert.equal(new Set(delays).size > 1, most > 0, 'jitter, at the maximum too');
  }
});

test('with initialMs 0 even a thousand crashes cause no delay', () => {
  assert.equal(restartDelayMs(1_200, { initialMs: 0, factor: 2, maxMs: 30_000 }), 0);
});

test('only failed checks in a row, of the same process, make it unhealthy enough to be replaced', async () => {
  const { checks, check, announced } = checked(3);
  for (const state of ['unhealthy', 'unhealthy', 'running', 'unhealthy', 'unhealthy'] as const) await check({ state });
  assert.equal(checks.isSick, false);
  await check({ state: 'unhealthy', pid: 2 });
  await check({ state: 'starting', pid: 2 });
  await check({ state: 'unhealthy', pid: 2 });
  assert.equal(checks.isSick, false);
  await check({ state: 'unhealthy', pid: 2 });
  assert.deepEqual([checks.isSick, checks.pid], [true, 2]);
  const states = announced.map(({ state }) => state).join(' ');
  assert.equal(states, 'unhealthy unhealthy running unhealthy unhealthy unhealthy unhealthy unhealthy');
  checks.reset();
  assert.equal(checks.isSick, false);
});

test('the first passed check after failed ones is announced, whichever process passes it, and no other passed check', async () => {
  const { checks, check, announced } = checked(3);
  for (const state of ['running', 'unhealthy', 'starting', 'running', 'running', 'unhealthy'] as const)
    await check({ state });
  checks.reset();
  for (const state of ['stopped', 'unknown', 'running', 'running'] as const) await check({ state, pid: 2 });
  assert.deepEqual(
    announced.map(({ state, pid }) => `${state} ${pid}`),
    ['unhealthy 1', 'running 1', 'unhealthy 1', 'running 2'],
  );
});

test('survivors need replacing after the first check, and the result of an outdated check is dropped', async () => {
  const { checks, check, announced } = checked(3);
  await check({ state: 'unhealthy', pid: undefined });
  assert.equal(checks.isSick, true);
  for (const end of ['reset', 'hurry'] as const) {
    checks.reset();
    const late = check({ state: 'unhealthy', pid: undefined });
    checks[end]();
    assert.equal((await late).aborted, true);
    assert.deepEqual([checks.isSick, announced.length], [false, 1]);
  }
});

test('a check that was aborted and never ends does not block the next one', async () => {
  const { checks, check } = checked(1);
  void check('never');
  checks.reset();
  await check({ state: 'unhealthy' });
  assert.equal(checks.isSick, true);
});

test('a check that throws or gives no answer about the process changes nothing', async () => {
  const { checks, check } = checked(1);
  await check(new Error('no answer'));
  await check({ state: 'unknown', pid: undefined });
  await check({ state: 'stopped', pid: undefined });
  assert.equal(checks.isSick, false);
});

const WRONG: [unknown, RegExp][] = [
  [null, /"options" must be an object, not null/],
  [{ checkIntervalMs: -1 }, /"checkIntervalMs" must be a number, 0 or more, not -1/],
  [{ checkIntervalMs: '5' }, /"checkIntervalMs" must be .*, not "5"/],
  [{ unhealthyAfter: 0 }, /"unhealthyAfter" must be a number, 1 or more, not 0/],
  [{ unhealthyAfter: Number.NaN }, /"unhealthyAfter" must be .*, not NaN/],
  [{ respectStop: 1 }, /"respectStop" must be true or false, not 1/],
  [{ backoff: null }, /"backoff" must be an object, not null/],
  [{ backoff: 500 }, /"backoff" must be an object, not 500/],
  [{ backoff: { initialMs: -1 } }, /"backoff.initialMs" must be .*, not -1/],
  [{ backoff: { factor: 0.5 } }, /"backoff.factor" must be a number, 1 or more, not 0.5/],
  [{ backoff: { maxMs: 'x' } }, /"backoff.maxMs" must be .*, not "x"/],
  [{ giveUpAfter: 5 }, /"giveUpAfter" must be an object, not 5/],
  [{ giveUpAfter: { restarts: -1 } }, /"giveUpAfter.restarts" must be .*, not -1/],
  [{ giveUpAfter: { withinMs: null } }, /"giveUpAfter.withinMs" must be .*, not null/],
  [{ giveUpAfter: { diedWithinMs: -1 } }, /"giveUpAfter.diedWithinMs" must be a number, 0 or more, not -1/],
  [{ giveUpAfter: true }, /"giveUpAfter" must be an object, not true/],
  [{ restartOn: 'crash' }, /"restartOn" must be "exit" or "failure", not "crash"/],
  [{ signal: {} }, /"signal" must be an AbortSignal, not {}/],
  [{ signal: null }, /"signal" must be an AbortSignal, not null/],
  [{ signal: 'aborted' }, /"signal" must be an AbortSignal, not "aborted"/],
];

for (const [options, message] of WRONG) {
  test(`supervise() with ${JSON.stringify(options)} throws a TypeError, and supervises nothing`, () => {
    const manager = new ProcessManager({ name: 'x', command: 'x', stateDir: '/nonexistent/x' });
    for (const _ of [1, 2]) {
      assert.throws(() => manager.supervise(options as SuperviseOptions), { name: 'TypeError', message });
    }
  });
}

test('supervise() of a shared process throws a TypeError', () => {
  const manager = new ProcessManager({ name: 'x', command: 'x', stateDir: '/nonexistent/x', lifetime: 'shared' });
  assert.throws(() => manager.supervise(), { name: 'TypeError', message: /"lifetime" must not be "shared"/ });
});

test('a signal of another realm, which is no instance of our AbortSignal, is accepted', () => {
  const signal = Object.assign(new EventTarget(), { aborted: false }) as AbortSignal;
  assert.equal(completeSuperviseOptions({ signal }).signal, signal);
});

test('the defaults are those of the documentation', () => {
  assert.deepEqual(completeSuperviseOptions({}), {
    checkIntervalMs: 5_000,
    respectStop: false,
    unhealthyAfter: 3,
    backoff: { initialMs: 500, factor: 2, maxMs: 30_000 },
    giveUpAfter: { restarts: 5, withinMs: 60_000, diedWithinMs: 0 },
    restartOn: 'exit',
    signal: undefined,
  });
});

function checked(unhealthyAfter: number) {
  const announced: Status[] = [];
  let answer: ((signal: AbortSignal) => Promise<Status>) | undefined;
  const checks = new HealthChecks(
    async (signal) => await (answer as (signal: AbortSignal) => Promise<Status>)(signal),
    { checkIntervalMs: 60_000, unhealthyAfter },
    (report) => announced.push(report),
  );
  /** @returns the signal that the check was given */
  const check = async (report: { state: Status['state']; pid?: number | undefined } | Error | 'never') => {
    let given: AbortSignal | undefined;
    answer = async (signal) => {
      given = signal;
      await turn();
      if (report === 'never') return await new Promise(() => undefined);
      if (report instanceof Error) throw report;
      return { pid: 1, ...report } as Status;
    };
    checks.hurry();
    void checks.runWhenDue();
    await turn();
    await turn();
    assert.ok(given !== undefined);
    return given;
  };
  return { checks, check, announced };
}

test('crashes count within the window; a supervisor that never gives up counts those in a row', () => {
  const at = now();
  const crashes = [at - 90_000, at - 50_000, at - 10_000, at];
  const limits = { withinMs: 60_000, diedWithinMs: 0 };
  const never = { ...limits, restarts: Number.POSITIVE_INFINITY };
  assert.equal(countedCrashes(crashes, at - 1, { ...limits, restarts: 5 }).length, 3);
  assert.equal(countedCrashes(crashes, at - 50_000, never).length, 4);
  assert.equal(countedCrashes(crashes, at - 61_000, never).length, 3, 'the process lived for longer than the window');
});
