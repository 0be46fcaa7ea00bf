/** The ways in which the owner of a tied process can end, other than by SIGKILL. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Ending } from '../fixtures/owner.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';
import { groupEnds, type Owner, startOwner, watcherOf } from '../helpers/tied.js';
import { accepts } from '../helpers/witness.js';

async function ownerThat(t: TestContext, ending: Ending): Promise<{ owner: Owner; port: number }> {
  const spec = await redisSpec(t);
  return { owner: await startOwner(t, spec, ending), port: spec.port };
}

const EXITS: readonly { ending: Ending; exitCode: number; stderr: RegExp }[] = [
  { ending: 'returns', exitCode: 0, stderr: /^$/ },
  { ending: 'exits', exitCode: 3, stderr: /^$/ },
  { ending: 'throws', exitCode: 1, stderr: /nobody catches this/ },
  { ending: 'rejects unheard', exitCode: 1, stderr: /nobody catches this/ },
];

for (const { ending, exitCode, stderr } of EXITS) {
  test(`an owner that ${ending} ends as it would without a server, and the server ends, too`, async (t) => {
    const { owner, port } = await ownerThat(t, ending);
    const exit = await owner.program.ended();
    assert.equal(exit.exitCode, exitCode);
    assert.match(exit.stderr, stderr);
    await groupEnds(owner.pid);
    assert.equal(await accepts(port), false);
  });
}

for (const ending of ['thread returns', 'thread exits', 'thread throws', 'thread is terminated'] as const) {
  test(`when the worker thread that owns the server ends (${ending}), the server ends and the process runs on`, async (t) => {
    const { owner, port } = await ownerThat(t, ending);
    await groupEnds(owner.pid);
    assert.equal(await accepts(port), false);
    assert.equal(owner.program.isAlive, true);
  });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  test(`${signal} ends an owner that does not handle it, and the server ends, too`, async (t) => {
    const { owner, port } = await ownerThat(t, 'stays');
    assert.deepEqual(owner.handled, []);
    owner.program.kill(signal);
    assert.equal((await owner.program.ended()).signal, signal);
    await groupEnds(owner.pid);
    assert.equal(await accepts(port), false);
  });
}

test('Ctrl-C, a SIGINT to the whole group of the owner, ends owner and server', async (t) => {
  const spec = await redisSpec(t);
  // The owner gets a group of its own, as a shell with job control gives one to each job.
  const owner = await startOwner(t, spec, 'stays', { detached: true });
  process.kill(-owner.program.pid, 'SIGINT');
  assert.equal((await owner.program.ended()).signal, 'SIGINT');
  await groupEnds(owner.pid);
  assert.equal(await accepts(spec.port), false);
});

test('a child that the owner leaves behind does not keep the server running', async (t) => {
  const spec = await redisSpec(t);
  const owner = await startOwner(t, spec, 'leaves a child');
  const [, child] = await owner.program.printed(/child (\d+)/);
  killAfter(t, Number(child));
  owner.program.kill();
  await groupEnds(owner.pid);
  process.kill(Number(child), 0);
});

test('a signal to the server’s group that the server handles does not end the watcher', async (t) => {
  const { owner } = await ownerThat(t, 'stays');
  const watcher = watcherOf(owner.pid);
  // The signals go to the watcher alone, since most of them would end redis. All are delivered before the program below
  // has ended.
  const signals = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'] as const;
  for (const signal of signals) process.kill(watcher, signal);
  await startProgram(t, 'true').ended();
  assert.equal(watcherOf(owner.pid), watcher);
  owner.program.kill();
  await groupEnds(owner.pid);
});
