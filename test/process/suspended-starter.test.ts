/** While a process is suspended each step of its start lasts long, so a stop at any step becomes likely. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { lockHolders } from '../../src/index.js';
import { journalEntries } from '../helpers/journal.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { FILE_CLOCK_MS, startTimedManagers, type TimedManager } from '../helpers/timed-manager.js';
import { eventually } from '../helpers/waiting.js';
import { witnessedServer } from '../helpers/witness.js';

/** A start in a warm process takes less time, so some of the instants come after it. */
const START_MS = 120;

test('a stop while a starter is suspended ends its start with StoppedError, at whatever step the start was', async (t) => {
  const random = seededRandom(t);
  const server = await witnessedServer(t);
  const [starter, stopper] = (await startTimedManagers(t, server.spec, 2)) as [TimedManager, TimedManager];
  const lockFile = `${server.spec.stateDir}/${server.spec.name}.lock`;
  const stops = () => journalEntries(server.spec, 'stop');
  const seen = { through: 0, atItsLastStep: 0, StoppedError: 0 };
  await starter.start();
  await stopper.stop();
  for (let round = 1; round <= rounds(200); round += 1) {
    const before = stops().length;
    const started = Promise.allSettled([starter.start()]);
    await starter.hasCalled();
    await delay(random.between(0, START_MS));
    starter.kill('SIGSTOP');
    const stopped = stopper.stop();
    await eventually(
      'the stop is in the journal, and no server runs',
      () => stops().length > before && server.alive().length === 0,
    );
    const stopBegan = Date.parse(stops().at(-1)?.at ?? '');
    // Handing the lock over is the last step of a start: a starter that still has the lock is not done.
    const isInside = (await lockHolders(lockFile)).includes(starter.program.pid);
    starter.kill('SIGCONT');
    const [outcome] = await started;
    await stopped;
    if (outcome.status === 'fulfilled') {
      const lateMs = outcome.value.at - stopBegan;
      assert.ok(
        lateMs < FILE_CLOCK_MS,
        `round ${round}: through in a turn that began ${lateMs} ms after the stop began`,
      );
      seen[isInside ? 'atItsLastStep' : 'through'] += 1;
    } else {
      assert.equal(outcome.reason.name, 'StoppedError', `round ${round}: ${outcome.reason.message}`);
      seen.StoppedError += 1;
    }
    await server.assertNothingThere();
  }
  t.diagnostic(JSON.stringify(seen));
  // Some microseconds lie between the last reading of the journal and the hand-over: a stop hits them once by chance at most.
  assert.ok(seen.atItsLastStep <= 1, 'a start returned a process that was stopped during its last step');
  server.assertNeverTwo();
});
