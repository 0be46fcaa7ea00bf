import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { seededRandom } from '../helpers/random.js';
import { KilledError, startRemoteManager } from '../helpers/remote-manager.js';
import { rounds } from '../helpers/resources.js';
import { witnessedServer } from '../helpers/witness.js';

type Test = Parameters<typeof startRemoteManager>[0];

/** On a busy machine a single measurement can be far off. */
const MAX_START_MS = 200;

/** How long a first start in a new process takes here, and a little more: most instants are inside it, some after it. */
async function startMs(test: Test, spec: ProcessSpec): Promise<number> {
  const manager = await startRemoteManager(test, spec);
  const began = performance.now();
  await manager.start();
  const took = performance.now() - began;
  await manager.stop();
  manager.kill();
  return Math.min(took * 1.1, MAX_START_MS);
}

test('a starter killed at a random instant leaves nothing that the next start and stop do not manage', async (t) => {
  const random = seededRandom(t);
  const { spec, pids, alive, assertNeverTwo, assertNothingThere } = await witnessedServer(t);
  const manager = new ProcessManager(spec);
  const limitMs = await startMs(t, spec);
  const seen = { nothing: 0, spawned: 0, through: 0 };
  let next = startRemoteManager(t, spec);
  for (let round = 1; round <= rounds(200); round += 1) {
    const starter = await next;
    const before = pids().length;
    const started = starter.start().catch((error: unknown) => {
      if (!(error instanceof KilledError)) throw error;
    });
    await delay(random.between(0, limitMs));
    starter.kill();
    const killedInside = (await started) === undefined;
    next = startRemoteManager(t, spec);
    const instance = await manager.start();
    seen[!killedInside ? 'through' : instance.reused ? 'spawned' : 'nothing'] += 1;
    assert.deepEqual(alive(), [instance.pid], `round ${round}`);
    assert.ok(pids().length - before <= 1, `round ${round}: one server, whoever spawned it`);
    assert.notEqual((await manager.stop()).outcome, 'not-running');
    await assertNothingThere();
  }
  await next;
  t.diagnostic(`killed: ${JSON.stringify(seen)}`);
  assertNeverTwo();
});

test('a starter killed at a random instant does not keep a stop from ending what it spawned', async (t) => {
  const random = seededRandom(t);
  const { spec, assertNeverTwo, assertNothingThere } = await witnessedServer(t);
  const manager = new ProcessManager(spec);
  const limitMs = await startMs(t, spec);
  let next = startRemoteManager(t, spec);
  for (let round = 1; round <= rounds(50); round += 1) {
    const starter = await next;
    const started = starter.start().catch(() => undefined);
    await delay(random.between(0, limitMs));
    starter.kill();
    next = startRemoteManager(t, spec);
    await manager.stop();
    await assertNothingThere();
    await started;
  }
  await next;
  assertNeverTwo();
});

test('a start aborted at a random instant ends with its reason and leaves nothing', async (t) => {
  const random = seededRandom(t);
  const { spec, assertNeverTwo, assertNothingThere } = await witnessedServer(t, { listenAfterMs: 20 });
  const manager = new ProcessManager(spec);
  const limitMs = 100;
  let aborted = 0;
  for (let round = 1; round <= rounds(100); round += 1) {
    const reason = new Error(`enough of round ${round}`);
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(reason), random.between(0, limitMs));
    try {
      assert.equal((await manager.start({ signal: controller.signal })).reused, false);
      await manager.stop();
    } catch (error) {
      assert.equal(error, reason);
      aborted += 1;
    } finally {
      clearTimeout(timer);
    }
    await assertNothingThere();
  }
  t.diagnostic(`aborted: ${aborted} of ${rounds(100)}`);
  assertNeverTwo();
});
