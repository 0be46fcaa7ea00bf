import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type Instance, ProcessManager, type ProcessSpec, type StopResult } from '../../src/index.js';
import type { ThreadAnswer } from '../fixtures/thread-manager.js';
import { logged } from '../helpers/outside-view.js';
import { fixture } from '../helpers/paths.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec } from '../helpers/servers.js';
import { witnessedServer } from '../helpers/witness.js';

type Test = Parameters<typeof witnessedServer>[0];

class ThreadManager {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  static async run(test: Test, spec: ProcessSpec): Promise<ThreadManager> {
    const worker = new Worker(fixture('thread-manager'), { workerData: spec });
    test.after(() => worker.terminate());
    await once(worker, 'message');
    return new ThreadManager(worker);
  }

  async call<Result>(method: 'start' | 'stop' | 'status'): Promise<Result> {
    this.#worker.postMessage(method);
    const [answer] = (await once(this.#worker, 'message')) as [ThreadAnswer];
    if ('error' in answer) throw Object.assign(new Error(answer.error.message), { name: answer.error.name });
    return answer.result as Result;
  }

  /** Makes a call for whose answer nobody waits. */
  begin(method: 'start'): void {
    this.#worker.postMessage(method);
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}

test('worker threads and the main thread that start at once return the same PID, and spawn one server', async (t) => {
  const { spec, pids, assertNeverTwo, assertNothingThere } = await witnessedServer(t);
  const main = new ProcessManager(spec);
  const threads = await Promise.all([1, 2, 3, 4].map(() => ThreadManager.run(t, spec)));
  for (let round = 1; round <= rounds(20); round += 1) {
    const instances = await Promise.all([main.start(), ...threads.map((thread) => thread.call<Instance>('start'))]);
    assert.equal(new Set(instances.map(({ pid }) => pid)).size, 1);
    assert.equal(instances.filter(({ reused }) => !reused).length, 1);
    assert.equal(pids().length, round);
    const stopped = await threads[round % 4]?.call<StopResult>('stop');
    assert.equal(stopped?.outcome, 'stopped');
    await assertNothingThere();
  }
  assertNeverTwo();
});

test('after a worker thread was terminated during a start the next start and stop work', async (t) => {
  const random = seededRandom(t);
  const { spec, alive, assertNeverTwo, assertNothingThere } = await witnessedServer(t);
  const main = new ProcessManager(spec);
  let next = ThreadManager.run(t, spec);
  for (let round = 1; round <= rounds(50); round += 1) {
    const thread = await next;
    thread.begin('start');
    await delay(random.between(0, 80));
    await thread.terminate();
    next = ThreadManager.run(t, spec);
    const { pid } = await main.start();
    assert.deepEqual(alive(), [pid], `round ${round}`);
    assert.equal((await main.stop()).outcome, 'stopped');
    await assertNothingThere();
  }
  await (await next).terminate();
  assertNeverTwo();
});

test('a server that a worker thread started outlives the thread', async (t) => {
  const { spec, alive, assertNothingThere } = await witnessedServer(t);
  const thread = await ThreadManager.run(t, spec);
  const { pid } = await thread.call<Instance>('start');
  await thread.terminate();
  const main = new ProcessManager(spec);
  assert.equal((await main.status()).state, 'running');
  assert.deepEqual(alive(), [pid]);
  assert.equal((await main.start()).reused, true);
  await main.stop();
  await assertNothingThere();
});

test('a start returns the server of a thread that was terminated before the server was ready', async (t) => {
  const spec = await nodeSpec(t, { 'listen-after': 1_500 });
  const manager = new ProcessManager(spec);
  const thread = await ThreadManager.run(t, spec);
  thread.begin('start');
  const pid = Number((await logged(manager.spec.logFile, /server (\d+)/))[1]);
  await thread.terminate();
  const { pid: given, reused } = await manager.start();
  assert.deepEqual([given, reused], [pid, true]);
  await manager.stop();
});
