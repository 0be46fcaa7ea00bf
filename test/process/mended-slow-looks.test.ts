/** A health check can take long: what happens meanwhile must not be undone, nor be overlooked, by the one who waits for it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Instance, ProcessManager } from '../../src/index.js';
import { terminate } from '../../src/stop/terminate.js';
import { processTable } from '../../src/system/process-table.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { Gate, outcomeOf } from '../helpers/gate.js';
import { logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** Longer than any test: a look ends when the test says so. */
const LONG_MS = 60_000;

const hasServerFile = ({ pid }: Instance) =>
  isRunningProcess(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('server.mjs');

test('a start that asks leftovers for long does not end the process that another start made meanwhile', async (t) => {
  const gate = new Gate();
  const spec = sleepSpec(t, {
    command: process.execPath,
    args: [plainFixture('server.mjs'), '--child=session'],
    checkTimeoutMs: LONG_MS,
    startTimeoutMs: LONG_MS,
    isHealthy: hasServerFile,
  });
  const quick = new ProcessManager(spec);
  const slow = new ProcessManager({
    ...spec,
    isHealthy: async (instance) => {
      await gate.pass(instance);
      return hasServerFile(instance);
    },
  });
  const first = await quick.start();
  const [, child] = await logged(quick.spec.logFile, /up: (\d+)/);
  const ended: number[] = [];
  quick.on('exit', ({ pid }) => ended.push(pid));
  process.kill(first.pid, 'SIGKILL');
  await eventually('leftovers', async () => (await quick.status()).state === 'unhealthy');

  const slowStart = slow.start();
  assert.equal((await gate.asked).pid, Number(child));
  const second = await quick.start();
  gate.open();
  const { pid, reused } = await slowStart;
  assert.deepEqual([pid, reused], [second.pid, true]);
  assert.deepEqual(ended, [first.pid]);
  assert.equal(isRunningProcess(second.pid), true);
});

for (const isHeir of [false, true]) {
  test(`who is found only after the grace is ${isHeir ? 'killed as an heir' : 'left alone'} when the first one is ${isHeir ? 'still' : 'no more'} found with it`, async (t) => {
    const stubborn = startProgram(t, 'sh', ['-c', 'trap "" TERM; echo up; exec sleep 300'], { detached: true });
    await stubborn.printed(/up/);
    const other = startProgram(t, 'sleep', ['300'], { detached: true });
    const [first, second] = [stubborn, other].map(({ pid }) => processTable().lookUp(pid) ?? assert.fail());
    const finds = [[first], isHeir ? [first, second] : [second]];
    const { outcome } = await terminate(() => finds.shift()?.filter((it) => it !== undefined) ?? [], {
      stopSignal: 'SIGTERM',
      graceMs: 100,
    });
    assert.equal(outcome, 'killed');
    assert.deepEqual([stubborn.pid, other.pid].map(isRunningProcess), [false, !isHeir]);
  });
}

for (const end of ['is aborted', 'comes through'] as const) {
  test(`a process whose start is not over is not handed out to a contender, until that start ${end}`, async (t) => {
    const gate = new Gate();
    const spec = sleepSpec(t, { checkTimeoutMs: LONG_MS, startTimeoutMs: LONG_MS, isHealthy: () => true });
    const starter = new ProcessManager({
      ...spec,
      isHealthy: async (instance) => {
        await gate.pass(instance);
        return true;
      },
    });
    const abort = new AbortController();
    const start = outcomeOf(starter.start({ signal: abort.signal }));
    const doubtful = killAfter(t, (await gate.asked).pid);
    const contending = new ProcessManager(spec).start();
    const early = await Promise.race([contending, new Promise((resolve) => setTimeout(resolve, STILL_MS, 'waits'))]);
    assert.equal(early, 'waits');
    if (end === 'is aborted') abort.abort(new Error('given up'));
    else gate.open();
    const [outcome, { pid, reused }] = await Promise.all([start, contending]);
    assert.equal(outcome instanceof Error, end === 'is aborted');
    assert.deepEqual([pid === doubtful, reused], end === 'is aborted' ? [false, false] : [true, true]);
    assert.equal(isRunningProcess(pid), true);
  });
}
