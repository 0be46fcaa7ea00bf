// @ts-check
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openNamespace } from '../temporal.mjs';

const taskQueue = 'shipping';
/** @type {Awaited<ReturnType<typeof openNamespace>>} */
let temporal;
before(async () => {
  temporal = await openNamespace('shipping', taskQueue);
});
after(() => temporal.close());

test('a shipment is confirmed', async () => {
  const options = { taskQueue, workflowId: 'first', args: ['Ada'] };
  assert.equal(await temporal.client.workflow.execute('confirm', options), 'confirmed for Ada');
});
