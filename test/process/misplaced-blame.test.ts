/** An error names what is missing, and blames nothing else. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ProcessManager, startEphemeral, startShared, temporalDevServer } from '../../src/index.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { ownKey, redisPreset } from '../helpers/shared.js';

/** Runs a command with a view of the file system in which the folder of programs has everything but a shell. */
const WITHOUT_SHELL = `
  bin=$(readlink -f /bin)
  mount --bind "$bin" "$0" && mount -t tmpfs none "$bin" && "$0/ln" -s "$0"/* "$bin" && "$0/rm" "$bin/sh" && exec "$@"`;

const mounts = { skip: unlessCapable('sys_admin') };

for (const lifetime of ['tied', 'shared'] as const) {
  test(
    `when a ${lifetime} process is started without a /bin/sh, the error names /bin/sh and not the server`,
    mounts,
    async (t) => {
      const spec = sleepSpec(t, { lifetime });
      const wrapper = ['unshare', '--mount', '/bin/sh', '-c', WITHOUT_SHELL, temporaryFolder(t)];
      await assert.rejects(callElsewhere(t, 'start', spec, { wrapper }), (error: Error) => {
        assert.equal(error.name, 'SpawnError');
        assert.match(error.message, /"\/bin\/sh" does not exist/);
        assert.doesNotMatch(error.message, /interpreter/);
        return true;
      });
    },
  );
}

/** Folders in which nobody can create anything, not even root. */
const unusable: Record<string, (t: TestContext) => string> = {
  'does not exist and cannot be made': () => '/proc/nowhere',
  'is a file': (t) => {
    const file = join(temporaryFolder(t), 'file');
    writeFileSync(file, '');
    return file;
  },
};

for (const [what, folderOf] of Object.entries(unusable)) {
  test(`a TMPDIR that ${what} causes a SpawnError that names it`, async (t) => {
    const before = process.env.TMPDIR;
    const folder = folderOf(t);
    process.env.TMPDIR = folder;
    t.after(() => {
      process.env.TMPDIR = before;
    });
    const expected = (error: Error) => {
      assert.equal(error.name, 'SpawnError', String(error));
      assert.ok(error.message.includes(folder) && error.message.includes('TMPDIR'), error.message);
      return true;
    };
    await assert.rejects(startEphemeral(redisPreset), expected);
    await assert.rejects(startShared(redisPreset, { key: ownKey() }), expected);
  });
}

for (const HOME of ['', 'relative/home', '.']) {
  test(`with HOME=${JSON.stringify(HOME)} a "~" throws a TypeError that names HOME, and nothing else needs it`, (t) => {
    const before = process.env.HOME;
    process.env.HOME = HOME;
    t.after(() => {
      process.env.HOME = before;
    });
    const expected = { name: 'TypeError', message: /HOME/ };
    const folder = temporaryFolder(t);
    assert.throws(() => new ProcessManager({ name: 'x', command: 'sleep', stateDir: '~/state' }), expected);
    assert.throws(() => new ProcessManager({ name: 'x', command: 'sleep', stateDir: '~' }), expected);
    assert.throws(() => temporalDevServer(), expected);
    assert.throws(() => temporalDevServer({ stateDir: folder, command: '~/temporal' }), expected);
    new ProcessManager({ name: 'x', command: 'sleep', stateDir: folder });
    assert.equal(temporalDevServer({ stateDir: folder, command: 'temporal' }).stateDir, folder);
    assert.equal(temporalDevServer({ stateDir: folder }).stateDir, folder);
  });
}

test('logTail() gives at most 64 KiB of a log that is one line of 30 MB', async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  mkdirSync(join(spec.stateDir, 'logs'), { recursive: true });
  for (const character of ['x', 'ü']) {
    writeFileSync(manager.spec.logFile, character.repeat(30_000_000));
    const lines = await manager.logTail();
    assert.equal(lines.length, 1);
    assert.ok(Buffer.byteLength(lines.join('')) <= 64 * 1024);
  }
});
