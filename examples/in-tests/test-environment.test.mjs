/** The environment of @temporalio/testing on a real Temporal: `node --test examples/in-tests/test-environment.test.mjs` */
// @ts-check
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { startEphemeral, temporalDevServer } from 'flock-process';

Runtime.install({ logger: new DefaultLogger('ERROR') });

/** @type {import('flock-process').EphemeralInstance} */
let temporal;
/** @type {TestWorkflowEnvironment} */
let environment;

before(async () => {
  temporal = await startEphemeral(temporalDevServer);
  environment = await TestWorkflowEnvironment.createFromExistingServer({ address: temporal.address });
});

after(async () => {
  await environment?.teardown();
  await temporal?.stop();
});

test('a workflow greets in a test environment', async () => {
  const taskQueue = 'greetings';
  const workflowsPath = fileURLToPath(new URL('workflows.mjs', import.meta.url));
  const worker = await Worker.create({ connection: environment.nativeConnection, taskQueue, workflowsPath });
  const greeting = environment.client.workflow.execute('greeting', {
    taskQueue,
    workflowId: 'one',
    args: ['Temporal'],
  });
  assert.equal(await worker.runUntil(greeting), 'Hello Temporal');
});
