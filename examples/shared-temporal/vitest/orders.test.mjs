// @ts-check
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openNamespace } from '../temporal.mjs';

const taskQueue = 'orders';
/** @type {Awaited<ReturnType<typeof openNamespace>>} */
let temporal;
beforeAll(async () => {
  temporal = await openNamespace('orders', taskQueue);
});
afterAll(() => temporal.close());

test('an order is confirmed', async () => {
  const options = { taskQueue, workflowId: 'first', args: ['Ada'] };
  expect(await temporal.client.workflow.execute('confirm', options)).toBe('confirmed for Ada');
});
