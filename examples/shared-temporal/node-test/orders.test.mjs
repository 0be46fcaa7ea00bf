// @ts-check
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openNamespace } from '../temporal.mjs';

const taskQueue = 'orders';
/** @type {Awaited<ReturnType<typeof openNamespace>>} */
let temporal;
before(async () => {
  temporal = await openNamespace('orders', taskQueue);
});
after(() => temporal.close());

test('an order is confirmed', async () => {
  const options = { taskQueue, workflowId: 'first', args: ['Ada'] };
  assert.equal(await temporal.client.workflow.execute('confirm', options), 'confirmed for Ada');
});
