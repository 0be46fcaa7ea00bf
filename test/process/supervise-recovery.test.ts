/**
 * From the first `ready` of a process on each failed check counts, and `healthy` is emitted when it passes its checks
 * again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessManagerEvents } from '../../src/index.js';
import { isRunning } from '../helpers/outside-view.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { NEVER_GIVE_UP, Supervision } from '../helpers/supervisor-process.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** The start time, which is longer than anything here takes. */
const START_TIMEOUT_MS = 600_000;

const PAUSING = { 'pause-on': 'SIGUSR2' };

test('a port that closes after ready within the start time counts as unhealthy, and a supervisor here or elsewhere replaces the process', async (t) => {
  const supervision = new Supervision(t);
  const spec = await nodeSpec(t, PAUSING, { startTimeoutMs: START_TIMEOUT_MS });
  const manager = new ProcessManager(spec);
  const often = { checkIntervalMs: 20, unhealthyAfter: 3, ...NEVER_GIVE_UP };
  for (const where of ['here', 'elsewhere'] as const) {
    const { pid } = await manager.start();
    const supervisor =
      where === 'here' ? await supervision.here(manager, often) : await supervision.elsewhere(spec, often);
    process.kill(pid, 'SIGUSR2');
    await eventually('another process runs', async () => {
      const { state, pid: now } = await manager.status();
      return state === 'running' && now !== pid;
    });
    assert.equal(isRunning(pid), false);
    if ('done' in supervisor) await supervisor.stop();
    else supervisor.kill();
    await manager.stop();
  }
});

test('`healthy` is emitted once when the process passes its checks again, with the status of that check', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await nodeSpec(t, PAUSING, { startTimeoutMs: START_TIMEOUT_MS }));
  const told: string[] = [];
  for (const name of ['unhealthy', 'healthy'] as const) {
    manager.on(name, (...[status]: ProcessManagerEvents['healthy']) => {
      told.push([name, status.state, status.pid, status.checks.port].join(' '));
    });
  }
  await supervision.here(manager, { checkIntervalMs: 20, unhealthyAfter: 1_000_000 });
  const { pid = 0 } = await manager.status();
  assert.ok(pid > 1);
  await delay(STILL_MS);
  assert.equal(told.length, 0, 'it was healthy all the time');
  const once: string[] = [];
  for (let round = 1; round <= 2; round += 1) {
    process.kill(pid, 'SIGUSR2');
    await eventually(
      'two failed health checks are reported',
      () => told.filter((line) => line.startsWith('unhealthy')).length >= 2 * round,
    );
    const before = told.length;
    process.kill(pid, 'SIGUSR2');
    await eventually('a passed health check is reported', () =>
      told.slice(before).some((line) => line.startsWith('healthy')),
    );
    await delay(STILL_MS);
    once.push(...told.filter((line, index) => line !== told[index - 1]).slice(once.length));
  }
  const failed = `unhealthy unhealthy ${pid} false`;
  const passed = `healthy running ${pid} true`;
  assert.deepEqual(once, [failed, passed, failed, passed]);
  assert.equal(told.filter((line) => line === passed).length, 2);
});

test('`restarts` is counted before `ready` is emitted, and the first start does not count', async (t) => {
  const supervision = new Supervision(t);
  const manager = new ProcessManager(await redisSpec(t));
  const counts: number[] = [];
  const supervisor = supervision.add(manager.supervise(NEVER_GIVE_UP));
  manager.on('ready', ({ pid }) => {
    counts.push(supervisor.restarts);
    if (counts.length < 4) process.kill(pid, 'SIGKILL');
  });
  await eventually('four processes have become ready', () => counts.length === 4);
  assert.deepEqual(counts, [0, 1, 2, 3]);
  assert.equal(supervisor.restarts, 3);
});
