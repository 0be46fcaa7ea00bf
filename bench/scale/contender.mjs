/** One of many processes that start the same managed process: it gets a spec and sends the PID that the start gave. */
// @ts-check
import { ProcessManager } from 'flock-process';

process.on('message', async (spec) => {
  try {
    const { pid } = await new ProcessManager(/** @type {import('flock-process').ProcessSpec} */ (spec)).start();
    process.send?.(pid);
  } catch (error) {
    process.send?.(String(error));
  }
});
process.send?.('ready');
