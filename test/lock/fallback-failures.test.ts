/** Without fs-ext, a helper that fails never counts as an answer: the lock is then neither held nor free. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { pathWithOnly, pathWithScript } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/resources.js';

const unavailable = { name: 'LockUnavailableError', code: 'ERR_LOCK_UNAVAILABLE' };
const heldError = { name: 'LockHeldError', code: 'ERR_LOCK_HELD' };
const bindingError = { name: 'FlockBindingError', code: 'ERR_FLOCK_BINDING' };

function startAgent(t: TestContext, env: NodeJS.ProcessEnv, cwd = '/') {
  return startLockAgent(t, { nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')], env, cwd });
}

const failures: Record<string, RegExp> = {
  complains: /exit code 1.*Bad file descriptor/,
  'exit 2': /exit code 2/,
  'exit 64': /exit code 64/,
  'exit 127': /exit code 127/,
  KILL: /SIGKILL/,
  TERM: /SIGTERM/,
};
for (const name of ['flock', 'perl']) {
  for (const [failure, message] of Object.entries(failures)) {
    test(`a ${name} that fails (${failure}) makes the lock unavailable, held or not`, async (t) => {
      const path = join(temporaryFolder(t), 'x.lock');
      const agent = startAgent(t, { PATH: pathWithScript(t, 'failing-program.sh', name), FAILURE: failure });
      const expected = { ...unavailable, path, message };
      await assert.rejects(agent.acquire(path), expected);
      const before = await agent.ask({ do: 'descriptors' });
      for (const lock of [undefined, acquireLock(path)]) {
        await assert.rejects(agent.acquire(path), expected);
        await assert.rejects(agent.isLocked(path), expected);
        await assert.rejects(agent.ask({ do: 'wait', path }), expected);
        lock?.release();
      }
      assert.equal(await agent.ask({ do: 'descriptors' }), before);
      assert.equal(isLocked(path), false);
    });
  }

  test(`without its ${name} the lock is unavailable, and release() throws but frees it`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    const folder = pathWithOnly(t, name);
    const agent = startAgent(t, { PATH: folder });
    await agent.acquire(path);
    renameSync(join(folder, name), join(folder, 'gone'));
    await assert.rejects(agent.acquire(path), { ...unavailable, causeCode: 'ENOENT' });
    await assert.rejects(agent.release(), { ...unavailable, causeCode: 'ENOENT', path });
    acquireLock(path).release();
    await agent.release();
    renameSync(join(folder, 'gone'), join(folder, name));
    await agent.acquire(path);
  });

  const surroundings: Record<string, NodeJS.ProcessEnv> = {
    'a locale that is not there': { LC_ALL: 'xx_YY.UTF-8', LANG: 'xx_YY.UTF-8' },
    'a preload that is not there': { LD_PRELOAD: '/nowhere/preload.so' },
    'options for perl': { PERL5OPT: '-w -Mnowhere::Module' },
  };
  for (const [what, env] of Object.entries(surroundings)) {
    test(`${name} works with ${what} in the environment`, async (t) => {
      const path = join(temporaryFolder(t), 'x.lock');
      const agent = startAgent(t, { ...env, PATH: pathWithOnly(t, name) });
      await agent.acquire(path);
      await assert.rejects(agent.acquire(path), heldError);
      assert.equal(await agent.isLocked(path), true);
      await agent.release();
      assert.equal(isLocked(path), false);
    });
  }
}

test('a perl that exits with 1 and prints nothing has failed', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startAgent(t, { PATH: pathWithScript(t, 'failing-program.sh', 'perl'), FAILURE: 'exit 1' });
  await assert.rejects(agent.acquire(path), unavailable);
  await assert.rejects(agent.isLocked(path), unavailable);
});

/** PATHs that lead to no helper. */
const poorPaths: Record<string, (t: TestContext) => string | undefined> = {
  'PATH is empty': () => '',
  'PATH is not set': () => undefined,
  'PATH names what does not exist': (t) => [join(temporaryFolder(t), 'nowhere'), '/dev/null'].join(delimiter),
  'a helper is not executable, or a folder': (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'flock'), '');
    mkdirSync(join(folder, 'perl'));
    return folder;
  },
  'PATH has a helper in a relative folder only': () => ['', '.', 'bin'].join(delimiter),
};
for (const [what, pathOf] of Object.entries(poorPaths)) {
  test(`when ${what} the error names the commands that help with npm, pnpm, yarn and bun`, async (t) => {
    const folder = temporaryFolder(t);
    const cwd = pathWithOnly(t, 'flock');
    mkdirSync(join(cwd, 'bin'));
    writeFileSync(join(cwd, 'bin/perl'), '#!/bin/sh\nexit 0\n');
    chmodSync(join(cwd, 'bin/perl'), 0o755);
    const PATH = pathOf(t);
    const agent = startAgent(t, PATH === undefined ? {} : { PATH }, cwd);
    const path = join(folder, 'x.lock');
    assert.equal(await agent.isLocked(path), false, 'what does not exist is not locked');
    await assert.rejects(agent.acquire(path), { ...bindingError, causeCode: 'MODULE_NOT_FOUND' });
    const before = await agent.ask({ do: 'descriptors' });
    for (const words of [/npm rebuild fs-ext/, /pnpm rebuild fs-ext/, /yarn install/, /bun pm trust fs-ext/, /perl/]) {
      await assert.rejects(agent.acquire(path), { ...bindingError, message: words });
      await assert.rejects(agent.isLocked(path), { ...bindingError, message: words });
      await assert.rejects(agent.ask({ do: 'wait', path }), { ...bindingError, message: words });
    }
    assert.equal(await agent.ask({ do: 'descriptors' }), before);
    assert.equal(existsSync(path) && isLocked(path), false);
  });
}
