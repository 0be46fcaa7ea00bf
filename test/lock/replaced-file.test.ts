import assert from 'node:assert/strict';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { plainFixture } from '../helpers/paths.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';
import { MUST_HAPPEN_MS } from '../helpers/waiting.js';

const changes: Record<string, (path: string) => void> = {
  deleted: (path) => unlinkSync(path),
  'replaced by a new file': (path) => {
    writeFileSync(`${path}.new`, '');
    renameSync(`${path}.new`, path);
  },
  'renamed away': (path) => renameSync(path, `${path}.old`),
  'replaced by a folder': (path) => {
    unlinkSync(path);
    mkdirSync(path);
  },
  'replaced by a symbolic link to itself under another name': (path) => {
    renameSync(path, `${path}.old`);
    symlinkSync(`${path}.old`, path);
  },
};

for (const [change, make] of Object.entries(changes)) {
  test(`a lock is intact until its file is ${change}`, (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    using lock = acquireLock(path);
    assert.equal(lock.isIntact(), true);
    make(path);
    assert.equal(lock.isIntact(), false);
    assert.equal(lock.held, true);
  });
}

test('a lock is not intact once its folder is gone', (t) => {
  const folder = join(temporaryFolder(t), 'sub');
  using lock = acquireLock(join(folder, 'x.lock'));
  rmSync(folder, { recursive: true });
  assert.equal(lock.isIntact(), false);
  writeFileSync(folder, 'a file where the folder was');
  assert.equal(lock.isIntact(), false);
});

test('a lock stays intact when its file is touched, written to, given other permissions or a further name', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using lock = acquireLock(path);
  writeFileSync(path, 'text');
  linkSync(path, `${path}.too`);
  assert.equal(lock.isIntact(), true);
});

test('when a lock file is deleted under its holder, only the new file counts', (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const old = acquireLock(path);
  unlinkSync(path);
  assert.equal(isLocked(path), false);
  using next = acquireLock(path);
  old.release();
  assert.equal(isLocked(path), true);
  assert.equal(next.isIntact(), true);
});

test('a waiter whose lock file is deleted under its holder gets the lock on the new file', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using old = acquireLock(path);
  const waiting = waitForLock(path);
  unlinkSync(path);
  using next = await waiting;
  assert.equal(next.isIntact(), true);
  assert.equal(old.isIntact(), false);
  assert.equal(statSync(path).isFile(), true);
});

function startDeleter(t: TestContext, path: string, times: number) {
  return startLockAgent(t, {
    nodeArgs: ['--require', plainFixture('hook-before-flock.cjs')],
    env: { ...process.env, VICTIM: path, TIMES: String(times) },
  });
}

test('when the file is deleted between opening and locking, the new file is locked', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  for (const times of [1, 2, 50]) {
    const agent = startDeleter(t, path, times);
    const before = await agent.ask<number>({ do: 'descriptors' });
    await agent.acquire(path);
    assert.equal(await agent.ask({ do: 'isIntact' }), true, 'it locked the deleted file');
    assert.equal(isLocked(path), true);
    await agent.release();
    assert.ok((await agent.ask<number>({ do: 'descriptors' })) <= before + 1, 'the addon, at most');
  }
});

test('the holder of a file that was deleted after it was opened does not block an acquire', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  using old = acquireLock(path);
  const agent = startDeleter(t, path, 1);
  await agent.acquire(path);
  assert.equal(await agent.ask({ do: 'isIntact' }), true);
  assert.equal(old.isIntact(), false);
});

test('a lock whose file is deleted again and again is unavailable in the end', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startDeleter(t, path, 1_000_000);
  await assert.rejects(agent.acquire(path), { name: 'LockUnavailableError', path, message: /again and again/ });
  assert.equal(existsSync(path) && isLocked(path), false);
});

test('a lock that is won is intact, however often another process deletes the file', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'sub/x.lock');
  const vandal = startLockAgent(t, {
    nodeArgs: [
      '--eval',
      `const fs = require('node:fs');
       process.send('begun');
       for (const parent = process.ppid; process.ppid === parent; ) fs.rmSync(${JSON.stringify(path)}, { force: true });`,
    ],
  });
  assert.equal(await vandal.program.message(), 'begun');
  let won = 0;
  let lost = 0;
  const end = performance.now() + MUST_HAPPEN_MS;
  // Both outcomes must occur, however fast this machine is, and one of the two processes may not be scheduled for a
  // while.
  const isDone = () => won + lost >= rounds(20_000) && ((won > 0 && lost > 0) || performance.now() > end);
  while (!isDone()) {
    using lock = acquireLock(path);
    // A file that was deleted since makes the lock no longer intact, but the lock never was on another file.
    if (lock.isIntact()) won += 1;
    else lost += 1;
  }
  assert.ok(won > 0 && lost > 0, `${won} intact, ${lost} not`);
  await vandal.kill();
  assert.ok(readdirSync(join(folder, 'sub')).length <= 1);
});
