import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { plainFixture } from '../helpers/paths.js';
import { startFixture } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

interface Refusal {
  name: string;
  code: string;
  message: string;
}

test('on Windows the import works, a manager can be made, every call is an UnsupportedPlatformError, and nothing is created', async (t) => {
  const folder = temporaryFolder(t);
  const { stdout, stderr } = await startFixture(t, 'every-call', [], {
    nodeArgs: ['--require', plainFixture('on-windows.cjs')],
    cwd: folder,
    env: { ...process.env, HOME: folder, TMPDIR: folder },
  }).ended();
  assert.notEqual(stdout, '', stderr);
  const { isSupported, 'manager.leave': leave, ...refusals } = JSON.parse(stdout) as Record<string, Refusal>;
  assert.equal(isSupported, false);
  assert.equal(leave?.name, 'UnsupportedPlatformError');
  const methods = ['start', 'stop', 'restart', 'status', 'isRunning', 'logTail', 'followLog', 'supervise'];
  for (const method of methods) assert.ok(`manager.${method}` in refusals, method);
  for (const [call, { name, code, message }] of Object.entries(refusals)) {
    assert.deepEqual([name, code], ['UnsupportedPlatformError', 'ERR_UNSUPPORTED_PLATFORM'], `${call}: ${message}`);
    assert.match(message, /runs on Linux, macOS and the BSDs, not on Windows \(WSL is Linux\)/, call);
  }
  assert.deepEqual(readdirSync(folder), []);
});
