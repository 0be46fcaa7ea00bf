/**
 * One Temporal for all test files of a run, however many processes or threads they are spread over: the first one starts it,
 * the others join it, and it ends with the last of them, also when the run is killed.
 *
 *     node --test --require=./hold.cjs node-test/*.test.mjs
 *     npx vitest run --root vitest
 */
// @ts-check
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { startShared, temporalDevServer } from 'flock-process';

/** Each test file has a namespace, so that none sees the workflows of another. All pass the same list, because they share one server. */
const namespaces = ['billing', 'orders', 'returns', 'shipping'];

/** A process that calls this is a user until it calls `leave()` or ends. */
export async function joinTemporal() {
  return await startShared(temporalDevServer, { key: 'shop-tests', namespaces });
}

/** Gives a test file a client and a worker of its namespace. @param {string} namespace @param {string} taskQueue */
export async function openNamespace(namespace, taskQueue) {
  const temporal = await joinTemporal();
  console.log(`${namespace}: Temporal has PID ${temporal.pid}`);
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const connection = await Connection.connect({ address: temporal.address });
  const workerConnection = await NativeConnection.connect({ address: temporal.address });
  const workflowsPath = fileURLToPath(new URL('./workflows.mjs', import.meta.url));
  const worker = await Worker.create({ connection: workerConnection, namespace, taskQueue, workflowsPath });
  const running = worker.run();
  return {
    client: new Client({ connection, namespace }),
    async close() {
      worker.shutdown();
      await running;
      await Promise.all([connection.close(), workerConnection.close()]);
      await temporal.leave();
    },
  };
}
