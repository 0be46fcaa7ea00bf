import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isLocked, lockHolders } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

// Every call is made in another process, so that a call that blocks is noticed (it gives no answer) and can be ended.
const unavailable = { name: 'LockUnavailableError', code: 'ERR_LOCK_UNAVAILABLE' };

async function assertUnavailable(t: TestContext, path: string, expected: object = {}): Promise<void> {
  const agent = startLockAgent(t);
  const before = await agent.ask<number>({ do: 'descriptors' });
  await assert.rejects(agent.acquire(path), { ...unavailable, path, ...expected });
  await assert.rejects(agent.isLocked(path), { ...unavailable, path, ...expected });
  await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 0 }), { ...unavailable, path, ...expected });
  // The agent can still have had a file of its own start open before.
  assert.ok((await agent.ask<number>({ do: 'descriptors' })) <= before);
}

test('a symbolic link is refused, and its target is not touched', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'target'), 'kept');
  symlinkSync(join(folder, 'target'), join(folder, 'x.lock'));
  await assertUnavailable(t, join(folder, 'x.lock'), { causeCode: 'ELOOP' });
  assert.equal(readFileSync(join(folder, 'target'), 'utf8'), 'kept');
  assert.equal(isLocked(join(folder, 'target')), false);
});

test('a dangling symbolic link is refused, and its target is not created', async (t) => {
  const folder = temporaryFolder(t);
  symlinkSync(join(folder, 'target'), join(folder, 'x.lock'));
  await assertUnavailable(t, join(folder, 'x.lock'), { causeCode: 'ELOOP' });
  assert.deepEqual(readdirSync(folder), ['x.lock']);
});

test('a symbolic link to a folder is followed in the path of a lock file', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'real'));
  symlinkSync(join(folder, 'real'), join(folder, 'link'));
  const agent = startLockAgent(t);
  await agent.acquire(join(folder, 'link/x.lock'));
  assert.equal(isLocked(join(folder, 'real/x.lock')), true);
});

test('a lock file is unavailable when its folder is a dangling symbolic link', async (t) => {
  const folder = temporaryFolder(t);
  symlinkSync(join(folder, 'nowhere'), join(folder, 'link'));
  await assert.rejects(startLockAgent(t).acquire(join(folder, 'link/x.lock')), unavailable);
  assert.deepEqual(readdirSync(folder), ['link']);
});

test('a folder is unavailable', async (t) => {
  await assertUnavailable(t, temporaryFolder(t), { message: /not a regular file|EISDIR/ });
});

test('a FIFO is unavailable at once, with a reader, with a writer, or with neither', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  for (const number of [1, 2, 3]) execFileSync('mkfifo', [`${path}${number}`]);
  const writer = startProgram(t, '/bin/sh', ['-c', 'echo begun; exec > "$0"; exec sleep 60', `${path}1`]);
  const reader = startProgram(t, '/bin/sh', ['-c', 'echo begun; exec < "$0"; exec sleep 60', `${path}2`]);
  for (const program of [writer, reader]) {
    await program.printed(/begun/);
    await eventually('the program waits at the FIFO', () =>
      / S /.test(readFileSync(`/proc/${program.pid}/stat`, 'utf8')),
    );
  }
  for (const number of [1, 2, 3]) await assertUnavailable(t, `${path}${number}`, { message: /not a regular file/ });
});

test('a socket is unavailable', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const server = createServer();
  await new Promise<void>((listening) => server.listen(path, listening));
  t.after(() => server.close());
  await assertUnavailable(t, path, { causeCode: 'ENXIO' });
});

test('a device is unavailable', async (t) => {
  await assertUnavailable(t, '/dev/null', { message: /not a regular file/ });
  assert.ok(lstatSync('/dev/null').isCharacterDevice());
});

test('a lock below a file cannot be taken, and is not locked', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), 'kept');
  const agent = startLockAgent(t);
  for (const path of [join(folder, 'file/x.lock'), join(folder, 'file/deep/x.lock')]) {
    await assert.rejects(agent.acquire(path), { ...unavailable, path });
    await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 0 }), { ...unavailable, path });
    assert.equal(await agent.isLocked(path), false);
    assert.deepEqual(await lockHolders(path), []);
  }
  assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'kept');
});

test('a name that is too long is unavailable', async (t) => {
  await assertUnavailable(t, join(temporaryFolder(t), 'x'.repeat(300)), { causeCode: 'ENAMETOOLONG' });
});

for (const path of ['/proc/x.lock', '/proc/flock-process/x.lock', '/proc/flock-process/a/b/x.lock', '/sys/x.lock']) {
  test(`a lock at ${path} is unavailable at once`, async (t) => {
    const agent = startLockAgent(t);
    await assert.rejects(agent.acquire(path), unavailable);
    assert.equal(await agent.isLocked(path), false);
  });
}
