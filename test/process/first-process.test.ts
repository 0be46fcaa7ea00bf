/** The library runs as the first process of a container (`CMD ["node", …]`), to which the kernel gives every orphan. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Report } from '../fixtures/first-process.js';
import { unlessCapable } from '../helpers/one-call.js';
import { fixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';

const ROUNDS = 4;

test('as PID 1 tied and detached servers start and end again and again, and only a zombie of each tied one is left', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const words = ['--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, fixture('first-process')];
  const { stdout, stderr } = await startProgram(t, 'unshare', [...words, String(ROUNDS)]).ended();
  assert.notEqual(stdout, '', stderr);
  const { pid, outcomes, left } = JSON.parse(stdout) as Report;
  assert.equal(pid, 1);
  assert.deepEqual(outcomes, Array(ROUNDS).fill('stopped'));
  // The zombies are the watchers, which Node does not collect; docs/limits.md says what to do about them.
  assert.deepEqual(left, Array(ROUNDS).fill('sh Z'));
});
