/** A process that runs out of descriptors during a call. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import type { Report } from '../fixtures/exhausted.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { processesIn } from '../helpers/outside-view.js';
import { fixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { sleepSpec } from '../helpers/servers.js';

for (const method of ['start', 'status', 'stop'] as const) {
  test(`${method}() without a free descriptor throws an error of this library and leaves no unknown process`, async (t) => {
    const spec = sleepSpec(t);
    const command = ['--nofile=64', process.execPath, fixture('exhausted'), JSON.stringify(spec), method];
    const program = startProgram(t, 'prlimit', command, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    const { pid, error } = await program.message<Report>();
    await program.ended();
    assert.ok(pid !== undefined && error !== undefined);
    assert.equal(error.isOurs, true, `${error.name}: ${error.message}`);
    assert.match(error.message, /EMFILE/);
    const manager = new ProcessManager(spec);
    if (method === 'start') {
      assert.equal(isRunningProcess(pid), false);
      // A PID file that cannot be read without a free descriptor stays and names a dead process.
      assert.deepEqual(processesIn(spec.stateDir), []);
      assert.equal((await manager.status()).state, 'stopped');
    } else {
      // Neither call could identify the process, so neither may have signalled it.
      assert.equal(isRunningProcess(pid), true);
      assert.equal((await manager.status()).pid, pid);
      assert.equal((await manager.stop()).outcome, 'stopped');
    }
    await manager.start();
    await manager.stop();
    assert.equal((await manager.status()).state, 'stopped');
  });
}

test('without a free descriptor the check of the holder throws EMFILE and takes nobody for a stranger', async (t) => {
  const manager = new ProcessManager(sleepSpec(t));
  await manager.start();
  const command = ['--nofile=64', process.execPath, fixture('exhausted-patience'), JSON.stringify(manager.spec)];
  const program = startProgram(t, 'prlimit', command, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  assert.equal(await program.message<unknown>(), 'EMFILE');
  await program.ended();
});
