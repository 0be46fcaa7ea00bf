import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { projectRoot } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

/** Ending a leftover takes seconds, because the run waits for it first. */
const RUN_WITHIN_MS = 60_000;

test('a test run that leaves nothing behind passes, and ends with the counts', async (t) => {
  const { exitCode, stdout, stderr } = await runDriver(t, 'leaves-nothing.mjs').ended({ withinMs: RUN_WITHIN_MS });
  assert.equal(exitCode, 0, stdout + stderr);
  assert.match(stdout, /ℹ tests 1\n.*ℹ pass 1\nℹ fail 0\n(ℹ \w+ [\d.]+\n)+$/s);
  assert.equal(stderr, '');
});

for (const left of ['marked', 'open']) {
  test(`a test run that leaves a process behind fails, names it and ends it (${left})`, async (t) => {
    // This process stays however long the run waits for it.
    const environment = { LEAVE: left, FLOCK_PROCESS_TEST_GONE_WITHIN_MS: '500' };
    const { exitCode, stdout, stderr } = await runDriver(t, 'leaves-a-process.mjs', environment).ended({
      withinMs: RUN_WITHIN_MS,
    });
    const pid = /left PID (\d+)/.exec(stdout)?.[1];
    assert.equal(exitCode, 1, stdout + stderr);
    assert.match(stdout, /ℹ pass 1\nℹ fail 0\n/);
    assert.match(stderr, new RegExp(`PID ${pid}: sleep 301`));
    // It was killed last, and a signal takes its time.
    await eventually('the process left behind has ended', () => !existsSync(`/proc/${pid}/exe`));
  });
}

test('words that occur in the path of no test file are refused', async (t) => {
  const { exitCode, stderr } = await startProgram(t, process.execPath, ['scripts/test.mjs', 'no-such-test'], {
    cwd: projectRoot,
  }).ended();
  assert.equal(exitCode, 1);
  assert.match(stderr, /"no-such-test"/);
});

/** Starts a test run with its own mark, and with a temp folder that is removed together with that of this test. */
function runDriver(t: TestContext, testFile: string, environment: NodeJS.ProcessEnv = {}): Program {
  return startProgram(t, process.execPath, ['scripts/test.mjs', join('test/package/fixtures', testFile)], {
    cwd: projectRoot,
    // Without NODE_TEST_CONTEXT, because inside it Node's runner would report to an outer one.
    env: { ...process.env, ...environment, TMPDIR: temporaryFolder(t), NODE_TEST_CONTEXT: undefined },
  });
}
