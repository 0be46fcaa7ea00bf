/** A process that has become the managed one where little of it can be seen: as PID 1 of a container, and by who may not look into it. */
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

/** As the first process of a PID namespace; what it has a child ask for is printed. */
async function runFirst(t: TestContext, words: readonly string[]): Promise<Program> {
  let program: Program | undefined;
  // From here nobody could stop it: it is known in its own namespace alone.
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

test('PID 1 of a container is known to others there', { skip: unlessCapable('sys_admin') }, async (t) => {
  const program = await runFirst(t, ['ask', 'status']);
  const { result } = await outcomeOf<{ result: Status }>(program);
  assert.deepEqual([result.state, result.pid], ['running', 1]);
  assert.equal(program.isAlive, true);
});

test('PID 1 that handles stopSignal is asked to end by a stop() there', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const { exitCode, stdout } = await (await runFirst(t, ['handler', 'ask', 'stop'])).ended();
  // With the first process the kernel ends the one that called stop(), too.
  assert.equal(exitCode, 7);
  assert.match(stdout, /^asked to end$/m);
});

test('of PID 1 that does not handle stopSignal a stop() says why it goes on', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const program = await runFirst(t, ['ask', 'stop']);
  const { error } = await outcomeOf<{ error: { code: string; message: string; holders: number[] } }>(program);
  assert.deepEqual([error.code, error.holders], ['ERR_STOP_TIMEOUT', [1]]);
  assert.match(error.message, /PID 1, the first process of its container: .* signal that it does not handle itself/);
  assert.equal(program.isAlive, true);
});

test('who may not look into it knows it all the same, and stops it', { skip: unlessRoot }, async (t) => {
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
