/** A server that could not get its ports is started again on another one. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { EarlyExitError, type ProcessSpec, startEphemeral, startShared } from '../../src/index.js';
import { plainFixture } from '../helpers/paths.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { nothingIsLeft, ownKey } from '../helpers/shared.js';

function panicsOnce(test: Parameters<typeof temporaryFolder>[0]) {
  const marker = join(temporaryFolder(test), 'marker');
  return ({ stateDir = '', port = 0 }: { stateDir?: string; port?: number }): ProcessSpec => ({
    name: 'panics',
    command: process.execPath,
    args: [plainFixture('panics-once.mjs'), marker, String(port)],
    port,
    stateDir,
  });
}

test('startShared starts a server again that ended early for want of a port of its own choice', async (t) => {
  const key = ownKey();
  const instance = await startShared(panicsOnce(t), { key });
  assert.equal(instance.reused, false);
  await instance.leave();
  await nothingIsLeft(key);
});

test('startEphemeral does so as well', async (t) => {
  await (await startEphemeral(panicsOnce(t))).stop();
});

test('a server that ends early on each port is tried on three, and the error is the last one', async () => {
  const tried: number[] = [];
  const preset = ({ stateDir = '', port = 0 }: { stateDir?: string; port?: number }): ProcessSpec => {
    tried.push(port);
    return { name: 'false', command: 'false', port, stateDir };
  };
  await assert.rejects(startEphemeral(preset), { name: 'EarlyExitError', exitCode: 1 });
  assert.deepEqual([tried.length, new Set(tried).size], [3, 3]);
});

test('on a given port it is tried once, and the error has the whole trace', async (t) => {
  const call = startShared(panicsOnce(t), { key: ownKey(), port: await freePort() });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof EarlyExitError);
    assert.match(error.logTail[0] ?? '', /^panic: /);
    return true;
  });
});
