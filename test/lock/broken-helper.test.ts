/**
 * The first helper on PATH can be broken, as the perl of a version manager that has no perl installed: then the next
 * helper is tried.
 */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { pathWithOnly, pathWithScript, whereIs } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/resources.js';

const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };

const startAgent = (t: TestContext, env: NodeJS.ProcessEnv) =>
  startLockAgent(t, { nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')], env });

/** PATHs on which the first helper fails and another one works. */
const paths: Record<string, (t: TestContext) => string> = {
  'perl, then flock(1) in the same folder': (t) => {
    const folder = pathWithScript(t, 'failing-program.sh', 'perl');
    symlinkSync(whereIs('flock'), join(folder, 'flock'));
    return folder;
  },
  'perl, then another perl': (t) =>
    [pathWithScript(t, 'failing-program.sh', 'perl'), pathWithOnly(t, 'perl')].join(delimiter),
  'flock(1), then another flock(1)': (t) =>
    [pathWithScript(t, 'failing-program.sh', 'flock'), pathWithOnly(t, 'flock')].join(delimiter),
  'perl, then flock(1) in a later folder': (t) =>
    [pathWithScript(t, 'failing-program.sh', 'perl'), pathWithOnly(t, 'flock')].join(delimiter),
  'a perl that cannot be run at all': (t) => {
    const folder = pathWithOnly(t, 'flock');
    writeFileSync(join(folder, 'perl'), '#!/nowhere/interpreter\n');
    chmodSync(join(folder, 'perl'), 0o755);
    return folder;
  },
};

for (const [what, pathOf] of Object.entries(paths)) {
  test(`broken: ${what}: the lock is acquired, checked, waited for and released`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const agent = startAgent(t, { PATH: pathOf(t), FAILURE: 'exit 127' });
    await agent.acquire(path);
    assert.throws(() => acquireLock(path), heldError);
    await agent.release();
    const held = acquireLock(path);
    await assert.rejects(agent.acquire(path), heldError);
    assert.equal(await agent.isLocked(path), true);
    await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 100 }), heldError);
    const waiting = agent.ask({ do: 'wait', path });
    held.release();
    await waiting;
    assert.equal(isLocked(path), true);
    await agent.release();
    assert.equal(isLocked(path), false);
  });
}

test('a broken helper is tried once, and not again at later calls', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const tried = join(temporaryFolder(t), 'tried.txt');
  const folder = pathWithOnly(t, 'flock');
  cpSync(plainFixture('counting-helper.sh'), join(folder, 'perl'));
  const agent = startAgent(t, { PATH: folder, STARTS: tried, REAL_HELPER: '/bin/false' });
  for (let round = 1; round <= 3; round += 1) {
    await agent.acquire(path);
    await agent.release();
  }
  assert.equal(readFileSync(tried, 'utf8').split('\n').length - 1, 1);
});

test('when all helpers are broken, the error is that of the first and names the others', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const [perl, flock] = [
    pathWithScript(t, 'failing-program.sh', 'perl'),
    pathWithScript(t, 'failing-program.sh', 'flock'),
  ];
  const agent = startAgent(t, { PATH: [perl, flock].join(delimiter), FAILURE: 'exit 127' });
  await assert.rejects(agent.acquire(path), (error: Error) => {
    assert.equal(error.name, 'LockUnavailableError');
    for (const words of ['exit code 127', join(perl, 'perl'), join(flock, 'flock')])
      assert.ok(error.message.includes(words), error.message);
    return true;
  });
  assert.equal(existsSync(path) && isLocked(path), false);
});
