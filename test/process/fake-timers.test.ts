/** A test runner replaces clock, timers and next tick before the library is loaded, or afterwards. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, startEphemeral } from '../../src/index.js';
import * as portable from '../../src/system/process-table-portable.js';
import type { Seen } from '../fixtures/loaded-under-fakes.js';
import { ownTemporaryFolder, redisPreset } from '../helpers/ephemeral.js';
import { fixture, projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { livingInGroup } from '../helpers/witness.js';

const REPLACED = /process\.nextTick is replaced/;

test('a library that is loaded where clock and next tick are fake uses those of Node', async (t) => {
  const args = [fixture('loaded-under-fakes'), join(projectRoot, 'dist/index.cjs'), temporaryFolder(t)];
  const beforeMs = Date.now();
  const { stdout } = await startProgram(t, process.execPath, args).ended();
  const { fakeTimeMs, journalTimesMs, thrown } = JSON.parse(stdout) as Seen;
  assert.equal(fakeTimeMs, 0);
  assert.equal(thrown, 'of a listener');
  assert.ok(journalTimesMs.length > 0);
  for (const ms of journalTimesMs) assert.ok(ms >= beforeMs && ms <= Date.now(), `${ms}`);
});

test('under a fake next tick a start fails at once, a lock is still taken, and a stop still ends the process', async (t) => {
  ownTemporaryFolder(t);
  const server = await startEphemeral(redisPreset);
  t.after(() => server.stop());
  const restore = replaceNextTick(t);
  try {
    await assert.rejects(startEphemeral(redisPreset), REPLACED);
    await assert.rejects(server.manager.status(), REPLACED);
    acquireLock(join(temporaryFolder(t), 'job.lock')).release();
    await server.stop();
  } finally {
    restore();
  }
  assert.deepEqual(livingInGroup(server.pid), []);
});

test('without /proc the check of a port reports a fake next tick, too, before anything is spawned', async (t) => {
  const restore = replaceNextTick(t);
  try {
    await assert.rejects(portable.isPortUsed({ host: '127.0.0.1', port: 1 }, { timeoutMs: 500 }), REPLACED);
  } finally {
    restore();
  }
});

/** Replaces nextTick() as sinon does by default: a callback is never called. */
function replaceNextTick(t: TestContext): () => void {
  const { mock } = t.mock.method(process, 'nextTick', () => undefined);
  return () => mock.restore();
}
