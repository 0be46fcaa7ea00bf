/** A crash loop says how the last one ended, with exit code 0 too. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CrashLoopError, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';

/** Ready after the 100 ms that one without checks has to live, and down a moment later. */
const endings: Record<string, { args: readonly string[]; message: RegExp }> = {
  'with exit code 0': { args: ['-c', 'sleep 0.3'], message: /the last one \(PID \d+\) ended with exit code 0/ },
  'with exit code 7': { args: ['-c', 'sleep 0.3; exit 7'], message: /the last one \(PID \d+\) ended with exit code 7/ },
  'by a signal': { args: ['-c', 'sleep 0.3; kill -SEGV $$'], message: /the last one \(PID \d+\) ended by SIGSEGV/ },
};

const LOOP = { backoff: { initialMs: 0 }, giveUpAfter: { restarts: 1 } };

for (const [how, { args, message }] of Object.entries(endings)) {
  test(`one that ends ${how} again and again: CrashLoopError says so`, async (t) => {
    const supervision = new Supervision(t);
    const spec: ProcessSpec = sleepSpec(t, { command: '/bin/sh', args });
    const supervisor = supervision.add(new ProcessManager(spec).supervise(LOOP));
    await assert.rejects(supervisor.done, (error) => {
      assert.ok(error instanceof CrashLoopError, String(error));
      assert.match(error.message, message);
      return true;
    });
  });
}

test('one that is never ready: CrashLoopError has the reason of the last start, indented', async (t) => {
  const supervision = new Supervision(t);
  const spec = sleepSpec(t, { command: '/bin/sh', args: ['-c', 'echo no settings; exit 9'] });
  const supervisor = supervision.add(new ProcessManager(spec).supervise(LOOP));
  await assert.rejects(supervisor.done, {
    name: 'CrashLoopError',
    message: /exit code 9 before it was ready.*\n {4}no settings/,
  });
});
