/** A starter is killed at a random instant. The campaign shows that all other calls work afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec } from '../../src/index.js';
import { seededRandom } from '../helpers/random.js';
import { KilledError, startRemoteManager } from '../helpers/remote-manager.js';
import { rounds } from '../helpers/resources.js';
import { witnessedServer } from '../helpers/witness.js';

type Test = Parameters<typeof startRemoteManager>[0];

/** The limit for the measured time, since a single measurement on a busy machine can be far off. */
const MAX_START_MS = 200;

/** Measures a first start in a new process, and adds a little: most random instants fall into the start, and some after it. */
async function startMs(test: Test, spec: ProcessSpec): Promise<number> {
  const manager = await startRemoteManager(test, spec);
  const began = performance.now();
  await manager.start();
  const took = performance.now() - began;
  await manager.stop();
  manager.kill();
  return Math.min(took * 1.1, MAX_START_MS);
}

test('a start after a starter was killed takes over the server that it had spawned, and spawns no second one', async (t) => {
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
