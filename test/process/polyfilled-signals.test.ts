/**
 * A signal of a polyfill, or of an older jsdom, has neither `reason` nor `throwIfAborted`. The library accepts such a signal, and
 * works when such a class replaces the global AbortController, before or after it is loaded.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import * as library from '../../src/index.js';
import { projectRoot } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';

class PolyfilledSignal {
  aborted = false;
  readonly #listeners = new Set<() => void>();

  addEventListener(_name: string, listener: () => void): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_name: string, listener: () => void): void {
    this.#listeners.delete(listener);
  }

  abort(): void {
    this.aborted = true;
    for (const listener of this.#listeners) listener();
  }
}

class PolyfilledController {
  readonly signal = new PolyfilledSignal();

  abort(): void {
    this.signal.abort();
  }
}

function replaceController(t: TestContext): void {
  const { AbortController: original } = globalThis;
  globalThis.AbortController = PolyfilledController as unknown as typeof AbortController;
  t.after(() => {
    globalThis.AbortController = original;
  });
}

function newController() {
  const signal = new PolyfilledSignal();
  return { signal: signal as unknown as AbortSignal, abort: () => signal.abort() };
}

async function assertEveryCallWorks(t: TestContext, { acquireLock, ProcessManager, waitForLock }: typeof library) {
  const { signal, abort } = newController();
  using lock = acquireLock(join(temporaryFolder(t), 'job.lock'));
  const waiting = assert.rejects(waitForLock(lock.path, { signal, timeoutMs: 20_000 }), { name: 'AbortError' });
  const manager = new ProcessManager(await redisSpec(t, { isHealthy: () => true }));
  t.after(() => manager.stop());
  await manager.start({ signal });
  await manager.restart({ signal });
  const supervisor = manager.supervise({ signal });
  assert.equal((await manager.status()).state, 'running');
  abort();
  await waiting;
  await supervisor.done;
  await assert.rejects(manager.start({ signal }), { name: 'AbortError' });
  assert.equal((await manager.stop({ signal: newController().signal })).outcome, 'stopped');
}

test('every call obeys a signal without reason and throwIfAborted', async (t) => {
  await assertEveryCallWorks(t, library);
});

test('every call works after the global AbortController was replaced', async (t) => {
  replaceController(t);
  await assertEveryCallWorks(t, library);
});

test('every call works when the global AbortController was replaced before the library is loaded', async (t) => {
  replaceController(t);
  const load = createRequire(import.meta.url);
  const file = join(projectRoot, 'dist/index.cjs');
  delete load.cache[file];
  await assertEveryCallWorks(t, load(file) as typeof library);
});
