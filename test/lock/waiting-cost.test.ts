/** What waiting for a lock costs, with the addon and without it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock } from '../../src/lock/file-lock.js';
import { LOCK_MODES, lockSetup, percentUsed } from '../helpers/cost.js';
import { children } from '../helpers/process-tree.js';
import { startFixture, startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

/** Long enough that one percent of it exceeds the rounding error. */
const WATCHED_MS = 5_000;

// They mostly wait, and each measures a process of its own, so they run together.
describe('waiting', { concurrency: true }, () => {
  for (const mode of LOCK_MODES) {
    const helpers = mode === 'the addon' ? 0 : 1;

    for (const kind of ['exclusive', 'shared'] as const) {
      test(`through ${mode}: waiting for an ${kind} lock costs less than 1 % of a core, and starts nothing`, async (t) => {
        const path = join(temporaryFolder(t), 'x.lock');
        acquireLock(path).release();
        const flag = kind === 'shared' ? '-s' : '-x';
        const keeper = startProgram(t, 'flock', ['--no-fork', flag, path, 'sh', '-c', 'echo held; exec sleep 60']);
        await keeper.printed(/held/);
        const { options, starts } = lockSetup(t, mode);
        const waiter = startFixture(t, 'waiter', [path, 'Infinity', ...(helpers === 0 ? ['tell'] : [])], options);
        assert.equal(await waiter.message(), 'waiting');
        // Through the addon a shared lock is refused after many attempts only: they are no idle waiting.
        if (helpers === 0) assert.equal(await waiter.message(), 'refused');
        await eventually('no helper is started for half a second', async () => {
          const before = starts().length;
          await delay(500);
          return starts().length === before && children(waiter.pid).length === helpers;
        });
        const before = starts().length;
        const percent = await percentUsed(waiter.pid, WATCHED_MS, { below: 1 });
        assert.equal(starts().length, before, 'helpers that were started meanwhile');
        assert.ok(percent < 1, `${percent.toFixed(1)} % of a core`);
        assert.equal(waiter.messages.length, 0, 'it is still waiting');
        keeper.kill();
        assert.equal(await waiter.message(), 'got');
        assert.deepEqual(children(waiter.pid), []);
        waiter.send('release');
        await waiter.ended();
      });
    }
  }
});
