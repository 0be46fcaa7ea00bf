/**
 * An ephemeral Temporal: a workflow runs on it, several run at once, and its times are compared with those of
 * Temporal's own test server.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { startEphemeral, temporalDevServer } from '../../src/index.js';
import * as activities from '../fixtures/activities.js';
import type { greeting } from '../fixtures/workflows.js';
import { fixture } from '../helpers/paths.js';
import { rounds } from '../helpers/resources.js';
import { temporalBinary } from '../helpers/temporal.js';
import { connect } from '../helpers/temporal-instances.js';
import { argumentsOf } from '../helpers/tied.js';
import { livingInGroup } from '../helpers/witness.js';

const command = temporalBinary();

test('a workflow with an activity runs on an ephemeral Temporal', async (t) => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const temporal = await startEphemeral(temporalDevServer, { command, namespaces: ['orders'] });
  t.after(() => temporal.stop());
  const connection = await NativeConnection.connect({ address: temporal.address });
  t.after(() => connection.close());
  const taskQueue = 'greetings';
  const workflowsPath = fixture('workflows');
  const worker = await Worker.create({ connection, namespace: 'orders', taskQueue, workflowsPath, activities });
  const client = await connect(t, temporal, 'orders');
  const result = await worker.runUntil(
    client.workflow.execute<typeof greeting>('greeting', { taskQueue, workflowId: 'one', args: ['Ada'] }),
  );
  assert.equal(result, 'Hello Ada, from orders');
});

test('four Temporals at once share no port, are headless and in memory, and check for no new version', async (t) => {
  const instances = await Promise.all([1, 2, 3, 4].map(() => startEphemeral(temporalDevServer, { command })));
  t.after(() => Promise.all(instances.map((instance) => instance.stop())));
  assert.equal(new Set(instances.map(({ port }) => port)).size, 4);
  for (const { pid, manager } of instances) {
    const words = argumentsOf(pid).join(' ');
    assert.match(words, /--headless/);
    assert.match(words, /--dynamic-config-value frontend\.enableServerVersionCheck=false/);
    assert.doesNotMatch(words, /--db-filename/);
    assert.equal((await manager.status()).state, 'running');
    // Another process may take one of the ports that Temporal chooses itself; then it is started again on another port.
    const complaints = (await manager.logTail(1_000)).filter((line) => /address already in use/i.test(line));
    assert.deepEqual(
      complaints.filter((line) => instances.some(({ port }) => line.includes(`:${port}:`))),
      [],
    );
  }
  await Promise.all(instances.map((instance) => instance.stop()));
  for (const { pid } of instances) assert.deepEqual(livingInGroup(pid), []);
});

test('connecting to an ephemeral Temporal and ending it take about as long as with createLocal on the same binary', async (t) => {
  const times: Record<'ours' | 'theirs' | 'our stop' | 'their teardown', number[]> = {
    ours: [],
    theirs: [],
    'our stop': [],
    'their teardown': [],
  };
  // The first round loads both libraries. Other work on the machine only makes a round longer, so the quickest rounds
  // are compared.
  const quickest = (what: keyof typeof times) => Math.min(...times[what].slice(1));
  // The bench compares the times exactly; here other tests run at the same time.
  const isQuick = () =>
    quickest('ours') < 2 * quickest('theirs') + 100 && quickest('our stop') < 3 * quickest('their teardown') + 200;
  const least = rounds(10, { least: 3 });
  for (let round = 0; round <= least || (round <= 2 * least && !isQuick()); round += 1) {
    const temporal = await timed(times.ours, async () => {
      const instance = await startEphemeral(temporalDevServer, { command });
      await (await connect(t, instance)).connection.ensureConnected();
      return instance;
    });
    await timed(times['our stop'], () => temporal.stop());
    const theirs = await timed(times.theirs, createLocal);
    await timed(times['their teardown'], () => theirs.teardown());
  }
  const medians = Object.fromEntries(Object.entries(times).map(([what, all]) => [what, median(all.slice(1))]));
  t.diagnostic(`medians in ms: ${JSON.stringify(medians)}`);
  assert.ok(isQuick(), JSON.stringify(times));
});

/** Starts again what did not start, mostly because Temporal has lost a port of its own, as startEphemeral() does. */
async function createLocal(): Promise<TestWorkflowEnvironment> {
  const executable = { type: 'existing-path', path: command } as const;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await TestWorkflowEnvironment.createLocal({ server: { executable } });
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

async function timed<T>(times: number[], act: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await act();
  times.push(performance.now() - begin);
  return result;
}

function median(times: readonly number[]): number {
  return Math.round(times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)] ?? Number.NaN);
}
