/** A process that only waits: `idler.mjs wait PATH` for a lock, `idler.mjs supervise SPEC` beside a managed process. */
// @ts-check
import { ProcessManager, waitForLock } from 'flock-process';

const [what = '', argument = ''] = process.argv.slice(2);
if (what === 'wait') {
  void waitForLock(argument);
  process.send?.('idle');
} else {
  const supervisor = new ProcessManager(JSON.parse(argument)).supervise();
  process.on('message', () => process.send?.(supervisor.state));
}
