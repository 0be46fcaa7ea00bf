/** Runs one workflow for each test example, with a worker of its own on the Temporal at that address. */
// @ts-check
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';

Runtime.install({ logger: new DefaultLogger('ERROR') });

/** @param {string} address @param {string} name @returns {Promise<string>} */
export async function runGreeting(address, name) {
  const taskQueue = `greetings-${process.pid}`;
  const workflowsPath = fileURLToPath(new URL('workflows.mjs', import.meta.url));
  const connections = [await Connection.connect({ address }), await NativeConnection.connect({ address })];
  const [connection, workerConnection] = /** @type {[Connection, NativeConnection]} */ (connections);
  try {
    const worker = await Worker.create({ connection: workerConnection, taskQueue, workflowsPath });
    const { workflow } = new Client({ connection });
    const workflowId = `${taskQueue}-${name}`;
    return await worker.runUntil(workflow.execute('greeting', { taskQueue, workflowId, args: [name] }));
  } finally {
    for (const each of connections) await each.close();
  }
}
