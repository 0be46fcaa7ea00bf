/**
 * A process that called become() where others see little of it: as PID 1 of a container, or from a user without the
 * right to inspect it.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager, type Status, type StopResult } from '../../src/index.js';
import { bothModesSpec } from '../helpers/becoming.js';
import { unlessCapable, unlessRoot } from '../helpers/one-call.js';
import { IN_DOCKER, POWERLESS } from '../helpers/powerless.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { MUST_HAPPEN_MS } from '../helpers/waiting.js';

const NAMESPACE = ['--pid', '--fork', '--kill-child', '--mount-proc'];

/** Runs the program as the first process of a PID namespace. A child of it makes the call, and the outcome is printed. */
async function runFirst(t: TestContext, words: readonly string[]): Promise<Program> {
  let program: Program | undefined;
  // Only its own namespace knows the process, so a stop() from here could not end it.
  t.after(async () => {
    program?.kill();
    await program?.exited;
  });
  const { command, args } = bothModesSpec(join(temporaryFolder(t), 'state'), await freePort(), words);
  program = startProgram(t, 'unshare', [...NAMESPACE, command, ...args]);
  await program.printed(/^ready 1$/m);
  return program;
}

async function outcomeOf<T>(program: Program): Promise<T> {
  return JSON.parse((await program.printed(/^\{.*\}$/m))[0]) as T;
}

test('status() in its container finds a process that is PID 1', { skip: unlessCapable('sys_admin') }, async (t) => {
  const program = await runFirst(t, ['ask', 'status']);
  const { result } = await outcomeOf<{ result: Status }>(program);
  assert.deepEqual([result.state, result.pid], ['running', 1]);
  assert.equal(program.isAlive, true);
});

test('a stop() in its container asks a PID 1 that handles stopSignal to end', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const { exitCode, stdout } = await (await runFirst(t, ['handler', 'ask', 'stop'])).ended();
  // When PID 1 ends the kernel ends all others in the namespace, and so the caller of stop().
  assert.equal(exitCode, 7);
  assert.match(stdout, /^asked to end$/m);
});

test('a stop() of a PID 1 that does not handle stopSignal fails, and says why the process runs on', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const program = await runFirst(t, ['ask', 'stop']);
  const { error } = await outcomeOf<{ error: { code: string; message: string; holders: number[] } }>(program);
  assert.deepEqual([error.code, error.holders], ['ERR_STOP_TIMEOUT', [1]]);
  assert.match(error.message, /PID 1, the first process of its container: .* signal that it does not handle itself/);
  assert.equal(program.isAlive, true);
});

test('a process without the right to inspect the managed process still finds it and stops it', {
  skip: unlessRoot,
}, async (t) => {
  for (const behind of [POWERLESS, IN_DOCKER]) {
    const spec = sleepSpec(t);
    const remote = await startRemoteManager(t, spec);
    const pid = await remote.become();
    await remote.ready();
    const other = await startRemoteManager(t, spec, { behind });
    const { state, pid: reported } = await other.status();
    assert.deepEqual([state, reported], ['running', pid]);
    await assert.rejects(other.become(), { code: 'ERR_LOCK_HELD' });
    const { outcome }: StopResult = await other.stop();
    assert.equal(outcome, 'stopped');
    assert.equal((await remote.program.ended({ withinMs: MUST_HAPPEN_MS })).signal, 'SIGTERM');
    assert.equal((await new ProcessManager(spec).status()).state, 'stopped');
  }
});
