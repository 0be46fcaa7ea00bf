/**
 * Health checks and ports that never answer. No call waits for them beyond its time limit, or after it was aborted or
 * stopped.
 */
import assert from 'node:assert/strict';
import { unlinkSync } from 'node:fs';
import { test } from 'node:test';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf, timely } from '../helpers/gate.js';
import { journalFile } from '../helpers/journal.js';
import { callElsewhere } from '../helpers/one-call.js';
import { assertNothingLeft, logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { freePort } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';

type Test = Parameters<typeof startProgram>[0];

/** The duration of a check that hangs. */
const LOOK_MS = 60_000;

/** A port that accepts connections and never answers. */
async function fullPort(t: Test): Promise<number> {
  const listener = startProgram(t, 'python3', [plainFixture('full-backlog.py')]);
  return Number((await listener.printed(/^(\d+)\n/))[1]);
}

test('a start whose health check never answers ends after startTimeoutMs', async (t) => {
  const spec = sleepSpec(t, { startTimeoutMs: 300, checkTimeoutMs: LOOK_MS, isHealthy: () => new Promise(() => 0) });
  const { outcome } = await timely(new ProcessManager(spec).start());
  assert.equal((outcome as Error).name, 'StartTimeoutError');
  assertNothingLeft(spec);
});

test('a start that finds a process whose health check never answers ends after startTimeoutMs, too', async (t) => {
  const spec = sleepSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  const limits = { startTimeoutMs: 300, checkTimeoutMs: LOOK_MS };
  const asking = new ProcessManager({ ...spec, ...limits, isHealthy: () => new Promise(() => 0) });
  const { outcome } = await timely(asking.start());
  assert.equal((outcome as Error).name, 'UnhealthyError');
  assert.equal(isRunningProcess(pid), true);
});

/** A server whose port never answers, and that is never ready. */
async function fullServer(t: Test, changes: Partial<ProcessSpec>): Promise<ProcessSpec> {
  const port = await freePort();
  const args = [plainFixture('full-backlog.py'), '127.0.0.1', String(port)];
  return sleepSpec(t, { command: 'python3', args, port, checkTimeoutMs: LOOK_MS, isHealthy: () => false, ...changes });
}

test('a start whose port never answers ends after startTimeoutMs', async (t) => {
  const spec = await fullServer(t, { startTimeoutMs: 1_500 });
  const { outcome } = await timely(new ProcessManager(spec).start());
  assert.equal((outcome as Error).name, 'StartTimeoutError');
  assertNothingLeft(spec);
});

test('a start ends at once when it is aborted or stopped while it asks a port that never answers', async (t) => {
  const spec = await fullServer(t, { startTimeoutMs: LOOK_MS });
  const manager = new ProcessManager(spec);
  const abort = new AbortController();
  const aborted = outcomeOf(manager.start({ signal: abort.signal }));
  await logged(manager.spec.logFile, /^\d+\n/);
  abort.abort(new Error('enough'));
  assert.equal(((await timely(aborted)).outcome as Error).message, 'enough');
  assertNothingLeft(spec);

  const stopped = outcomeOf(manager.start());
  await logged(manager.spec.logFile, /^\d+\n\d+\n/);
  await timely(manager.stop());
  assert.equal(((await timely(stopped)).outcome as Error).name, 'StoppedError');
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('a connection attempt without an answer does not keep the calling process alive', async (t) => {
  const spec = sleepSpec(t, { checkTimeoutMs: 200 });
  await new ProcessManager(spec).start();
  // The journal names the port of that start, which is none; without the journal status() asks the port of its spec.
  unlinkSync(journalFile(spec));
  // The kernel goes on for more than two minutes. callElsewhere() waits for the end of the process, and not for that long.
  const { checks } = await callElsewhere<{ checks: { port: boolean } }>(t, 'status', {
    ...spec,
    port: await fullPort(t),
  });
  assert.equal(checks.port, false);
});
