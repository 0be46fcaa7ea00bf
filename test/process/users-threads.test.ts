/** In worker threads each manager is a user, and a thread that ends leaves. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { type Instance, ProcessManager, type ProcessSpec } from '../../src/index.js';
import type { Owned } from '../fixtures/owner.js';
import type { ThreadAnswer } from '../fixtures/thread-manager.js';
import { isRunning } from '../helpers/outside-view.js';
import { fixture } from '../helpers/paths.js';
import { startFixture } from '../helpers/programs.js';
import { redisSpec } from '../helpers/servers.js';
import { groupEnds } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

async function startInThread(t: TestContext, spec: ProcessSpec): Promise<{ thread: Worker; instance: Instance }> {
  const thread = new Worker(fixture('thread-manager'), { workerData: spec });
  t.after(() => thread.terminate());
  await once(thread, 'message');
  thread.postMessage('start');
  const [answer] = (await once(thread, 'message')) as [ThreadAnswer];
  assert.ok('result' in answer, JSON.stringify(answer));
  return { thread, instance: answer.result as Instance };
}

test('three threads and the main thread are four users; a thread that ends leaves, and the server ends with the last user', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'shared' });
  const main = new ProcessManager(spec);
  const threads = await Promise.all([1, 2, 3].map(() => startInThread(t, spec)));
  const { pid } = await main.start();
  assert.deepEqual(
    threads.map(({ instance }) => instance.pid),
    [pid, pid, pid],
  );
  assert.equal((await main.status()).users, 4);
  for (const [index, { thread }] of threads.entries()) {
    await thread.terminate();
    await eventually('one user fewer is counted', async () => (await main.status()).users === 3 - index);
    assert.equal((await main.status()).state, 'running');
  }
  await main.leave();
  assert.equal(isRunning(pid), false);
  await groupEnds(pid);
});

for (const ending of ['thread returns', 'thread exits', 'thread throws', 'thread is terminated'] as const) {
  test(`when the ${ending} that is the only user, its server ends and the process runs on`, async (t) => {
    const spec = await redisSpec(t, { lifetime: 'shared' });
    const program = startFixture(t, 'owner', [JSON.stringify(spec), ending]);
    const { instance } = await program.message<Owned>();
    await groupEnds(instance.pid);
    assert.equal(program.isAlive, true);
  });
}
