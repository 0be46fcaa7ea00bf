/** One of many that start the same process: a spec in, the PID that it got out. */
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
