// @ts-check
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openNamespace } from '../temporal.mjs';

const taskQueue = 'billing';
/** @type {Awaited<ReturnType<typeof openNamespace>>} */
let temporal;
before(async () => {
  temporal = await openNamespace('billing', taskQueue);
});
after(() => temporal.close());

test('a bill is confirmed', async () => {
  const options = { taskQueue, workflowId: 'first', args: ['Ada'] };
  assert.equal(await temporal.client.workflow.execute('confirm', options), 'confirmed for Ada');
});
