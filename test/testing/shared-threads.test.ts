/**
 * Shared instances among worker threads, which lock through a helper, so that each check takes them as long as many
 * checks take a process.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { isLocked } from '../../src/index.js';
import { fixture } from '../helpers/paths.js';
import { rounds } from '../helpers/resources.js';
import { lockFileOf, nothingIsLeft, ownKey, sharedFolder } from '../helpers/shared.js';

test('when six threads leave at the same instant, server and folder are gone', async (t) => {
  const key = ownKey();
  const threads = Array.from({ length: 6 }, () => new Worker(fixture('shared-thread'), { workerData: { key } }));
  t.after(() => Promise.all(threads.map((thread) => thread.terminate())));
  const tellAll = async () => {
    const answers = threads.map((thread) => once(thread, 'message'));
    for (const thread of threads) thread.postMessage('go on');
    return (await Promise.all(answers)).map(([answer]) => answer as unknown);
  };
  for (let round = 1; round <= rounds(30); round += 1) {
    const pids = await tellAll();
    assert.equal(new Set(pids).size, 1, `round ${round}: ${pids}`);
    await tellAll();
    assert.equal(isLocked(lockFileOf(key)), false, `round ${round}`);
    assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false, `round ${round}`);
    await nothingIsLeft(key);
  }
});
