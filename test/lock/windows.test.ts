import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startLockAgent } from '../helpers/lock-agent.js';
import { plainFixture } from '../helpers/paths.js';
import { temporaryFolder } from '../helpers/resources.js';

test('on Windows the import works, every call is an UnsupportedPlatformError, and nothing is made', async (t) => {
  const path = join(temporaryFolder(t), 'sub/x.lock');
  const agent = startLockAgent(t, { nodeArgs: ['--require', plainFixture('on-windows.cjs')] });
  const expected = { name: 'UnsupportedPlatformError', code: 'ERR_UNSUPPORTED_PLATFORM', message: /not on Windows/ };
  await assert.rejects(agent.acquire(path), expected);
  await assert.rejects(agent.isLocked(path), expected);
  await assert.rejects(agent.ask({ do: 'wait', path }), expected);
  await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 0 }), expected);
  assert.equal(existsSync(join(path, '..')), false);
});
