/** A CommonJS test, as most tests of jest are. A test that wants a server of its own would require flock-process. */
// @ts-nocheck jest’s globals are not declared here
const { Client, Connection } = require('@temporalio/client');

test('a workflow can be started', async () => {
  const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS });
  const { workflow } = new Client({ connection });
  const handle = await workflow.start('greeting', { taskQueue: 'nobody', workflowId: 'jest' });
  expect((await handle.describe()).status.name).toBe('RUNNING');
  await connection.close();
});
