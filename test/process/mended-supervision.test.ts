/** Supervision that ends when it must, and does not when it must not. */
import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { sleepSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, reaches, Supervision } from '../helpers/supervisor-process.js';
import { eventually } from '../helpers/waiting.js';

/** Longer than any test. */
const LONG_MS = 600_000;

/** Enough for two eager supervisors to see it sick, and to restart it. */
const WATCH_MS = 1_500;

test('a folder in the place of the lock file ends supervision with CrashLoopError', async (t) => {
  const supervision = new Supervision(t);
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const { lockFile } = manager.spec;
  mkdirSync(lockFile, { recursive: true });
  const told: string[] = [];
  manager.on('gaveUp', ({ code }) => told.push(code));
  const supervisor = supervision.add(
    manager.supervise({ backoff: { initialMs: 10 }, giveUpAfter: { restarts: 3, withinMs: LONG_MS } }),
  );
  const end = await supervisor.done.then(
    () => assert.fail('it ended well'),
    (error: Error & { lastError?: Error }) => error,
  );
  assert.equal(end.name, 'CrashLoopError');
  assert.match(String(end.lastError?.message), new RegExp(lockFile));
  assert.deepEqual([told, supervisor.state], [['ERR_CRASH_LOOP'], 'gave-up']);
  rmdirSync(lockFile);
});

test('two supervisors of a server that is sick again and again keep the backoff', async (t) => {
  const supervision = new Supervision(t);
  // Ready for the one who starts it, and sick for everybody else.
  const spec = sleepSpec(t, { startTimeoutMs: 500, isHealthy: ({ reused }) => !reused });
  const managers = [1, 2].map(() => new ProcessManager(spec));
  const spawned: number[] = [];
  const delays = managers.map((manager) => {
    const own: number[] = [];
    manager.on('spawned', ({ pid }) => spawned.push(pid));
    manager.on('restarting', ({ delayMs }) => own.push(delayMs));
    return own;
  });
  const supervisors = managers.map((manager) =>
    supervision.add(
      manager.supervise({
        checkIntervalMs: 20,
        unhealthyAfter: 2,
        backoff: { initialMs: LONG_MS, maxMs: LONG_MS },
        giveUpAfter: { restarts: 50, withinMs: LONG_MS },
      }),
    ),
  );
  await eventually(
    'both wait',
    () => supervisors.every(({ state }) => state === 'restarting') && delays.every((own) => (own.at(-1) ?? 0) > 0),
    { withinMs: 30_000 },
  );
  const count = spawned.length;
  // The first start, or the part that it took in the other's, and one immediate restart by each.
  assert.ok(count <= 4, `${count} processes, delays ${delays}`);
  await delay(WATCH_MS);
  assert.deepEqual([spawned.length, isLocked(managers[0]?.spec.lockFile ?? '')], [count, false]);
  assert.deepEqual(spawned.filter(isRunningProcess), []);
});

test("a stop whose signal is aborted already does not end the manager's supervisor", async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(sleepSpec(t));
  const supervisor = await supervision.here(manager, { checkIntervalMs: 50, ...NEVER_GIVE_UP });
  const pid = (await manager.status()).pid ?? 0;
  await assert.rejects(manager.stop({ signal: AbortSignal.abort(new Error('not now')) }), { message: 'not now' });
  assert.deepEqual([supervisor.state, isRunningProcess(pid)], ['watching', true]);
  process.kill(pid, 'SIGKILL');
  await eventually('another process', () => supervisor.restarts === 1);
  await reaches(supervisor, 'watching');
});
