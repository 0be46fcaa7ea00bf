/** The watcher of a shared process waits with the first program on PATH that works, even if an earlier one is broken. */
import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { callElsewhere } from '../helpers/one-call.js';
import { pathWithScript, whereIs } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/resources.js';
import { sleepSpec } from '../helpers/servers.js';
import { nothingIsLeft, ownKey, startUser } from '../helpers/shared.js';

for (const name of ['flock', 'perl']) {
  test(`a shared server ends with its last user although the first ${name} on PATH is broken`, async (t) => {
    const key = ownKey();
    const temp = temporaryFolder(t);
    const folders = [pathWithScript(t, 'failing-program.sh', name), process.env.PATH];
    const env = { ...process.env, PATH: folders.join(delimiter), FAILURE: 'exit 127', TMPDIR: temp };
    const user = await startUser(t, { key }, { env });
    const { reused } = await user.join();
    assert.equal(reused, false);
    user.kill();
    await nothingIsLeft(key, [], temp);
  });
}

test('a shared server is refused when the only program that could wait for its users is broken', async (t) => {
  const key = ownKey();
  const temp = temporaryFolder(t);
  const folder = pathWithScript(t, 'failing-program.sh', 'flock');
  symlinkSync(whereIs('redis-server'), join(folder, 'redis-server'));
  const user = await startUser(t, { key }, { env: { PATH: folder, FAILURE: 'exit 127', TMPDIR: temp } });
  await assert.rejects(user.join(), { name: 'FlockBindingError', message: /flock.*exit code 127/ });
  await nothingIsLeft(key, [], temp);
});

test('without the addon the error of a shared start names a program that cannot lock, too', async (t) => {
  const options = {
    env: { PATH: pathWithScript(t, 'failing-program.sh', 'flock'), FAILURE: 'exit 127' },
    nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')],
  };
  await assert.rejects(callElsewhere(t, 'start', sleepSpec(t, { lifetime: 'shared' }), options), {
    name: 'LockUnavailableError',
    message: /\.users": helper failed \(exit code 127\)/,
  });
});
