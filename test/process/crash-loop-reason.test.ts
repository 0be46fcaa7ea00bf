/** The error of a crash loop says how the last process ended, even with exit code 0. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CrashLoopError, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { sleepSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';

/** Each process becomes ready, as it lives for 100 ms without a check, and ends well after that. */
const endings: Record<string, { args: readonly string[]; message: RegExp }> = {
  'with exit code 0': { args: ['-c', 'sleep 1'], message: /the last one \(PID \d+\) ended with exit code 0/ },
  'with exit code 7': { args: ['-c', 'sleep 1; exit 7'], message: /the last one \(PID \d+\) ended with exit code 7/ },
  // The kernel, too, frees the lock a moment before the parent is told of the end.
  'some time after its lock was freed': {
    args: ['-c', 'sleep 1; exec 3>&-; sleep 0.2; exit 7'],
    message: /the last one \(PID \d+\) ended with exit code 7/,
  },
  'by a signal': { args: ['-c', 'sleep 1; kill -SEGV $$'], message: /the last one \(PID \d+\) ended by SIGSEGV/ },
};

const LOOP = { backoff: { initialMs: 0 }, giveUpAfter: { restarts: 1 } };

describe('a crash loop', { concurrency: true }, () => {
  for (const [how, { args, message }] of Object.entries(endings)) {
    test(`the CrashLoopError of a process that ends ${how} again and again says so`, async (t) => {
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
});

test('the CrashLoopError of a process that is never ready has the reason of the last start, indented', async (t) => {
  const supervision = new Supervision(t);
  const spec = sleepSpec(t, { command: '/bin/sh', args: ['-c', 'echo no settings; exit 9'] });
  const supervisor = supervision.add(new ProcessManager(spec).supervise(LOOP));
  await assert.rejects(supervisor.done, {
    name: 'CrashLoopError',
    message: /exit code 9 before it was ready.*\n {4}no settings/,
  });
});
