import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, isLocked, waitForLock } from '../../src/lock/file-lock.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { startFixture } from '../helpers/programs.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';

for (const count of [1, 4]) {
  test(`no acquire fails while ${count} other processes ask all the time`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    writeFileSync(path, '');
    const probers = Array.from({ length: count }, () => startFixture(t, 'prober', [path]));
    await Promise.all(probers.map((prober) => prober.printed(/begun/)));
    for (let i = 0; i < rounds(200_000); i += 1) acquireLock(path).release();
    assert.ok(
      probers.every((prober) => prober.isAlive),
      probers.map((prober) => prober.stderr).join(),
    );
  });
}

for (const [how, options] of [
  ['fs-ext', {}],
  ['perl', { nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')] }],
] as const) {
  test(`a question through ${how} is over when it is answered, not when its descriptor is closed`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    writeFileSync(path, '');
    const agent = startLockAgent(t, { ...options, env: { PATH: pathWithOnly(t, 'perl') } });
    assert.deepEqual(await agent.ask({ do: 'askThenLock', path }), [true, true]);
    using _lock = acquireLock(path);
    assert.deepEqual(await agent.ask({ do: 'askThenLock', path }), [false, false]);
  });
}

test('no wait times out on questions, be its timeout 0', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  writeFileSync(path, '');
  const probers = Array.from({ length: 4 }, () => startFixture(t, 'prober', [path]));
  await Promise.all(probers.map((prober) => prober.printed(/begun/)));
  for (let i = 0; i < rounds(5_000); i += 1) (await waitForLock(path, { timeoutMs: 0 })).release();
  assert.equal(isLocked(path), false);
});
