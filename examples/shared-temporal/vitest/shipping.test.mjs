// @ts-check
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openNamespace } from '../temporal.mjs';

const taskQueue = 'shipping';
/** @type {Awaited<ReturnType<typeof openNamespace>>} */
let temporal;
beforeAll(async () => {
  temporal = await openNamespace('shipping', taskQueue);
});
afterAll(() => temporal.close());

test('a shipment is confirmed', async () => {
  const options = { taskQueue, workflowId: 'first', args: ['Ada'] };
  expect(await temporal.client.workflow.execute('confirm', options)).toBe('confirmed for Ada');
});
