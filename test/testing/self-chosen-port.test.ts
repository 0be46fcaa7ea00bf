/** Servers that bind to port 0 and print which port the system gave them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ProcessSpec, startEphemeral, startShared } from '../../src/index.js';
import { ownTemporaryFolder } from '../helpers/ephemeral.js';
import { nothingIsLeft, ownKey } from '../helpers/shared.js';
import { PORT_LINE, talking } from '../helpers/talker.js';
import { accepts } from '../helpers/witness.js';

const binding = ({ stateDir = '' }: { stateDir?: string; port?: number }): ProcessSpec => ({
  name: 'binding',
  ...talking([{ listen: 0 }, 'listening on port %PORT%\n']),
  readyLine: PORT_LINE,
  stateDir,
});

test('startEphemeral takes the port that the ready line names', async (t) => {
  ownTemporaryFolder(t);
  const servers = await Promise.all([startEphemeral(binding), startEphemeral(binding)]);
  for (const { port, address, manager } of servers) {
    assert.equal(address, `127.0.0.1:${port}`);
    assert.equal(await accepts(port), true);
    assert.equal((await manager.status()).address, address);
  }
  assert.notEqual(servers[0].port, servers[1].port);
  await Promise.all(servers.map((server) => server.stop()));
});

test('startShared takes it too, and a user that joins finds the server there', async () => {
  const key = ownKey();
  const [first, second] = [await startShared(binding, { key }), await startShared(binding, { key })];
  assert.deepEqual([second.pid, second.port, second.reused], [first.pid, first.port, true]);
  assert.equal(await accepts(first.port), true);
  await Promise.all([first.leave(), second.leave()]);
  await nothingIsLeft(key);
});

test('a preset that gives neither a port nor a line that names one is a TypeError', async (t) => {
  ownTemporaryFolder(t);
  const portless = ({ stateDir = '' }): ProcessSpec => ({ name: 'binding', ...talking([]), stateDir });
  for (const lines of [{}, { readyLine: 'listening' }, { readyLine: /listening on (\d+)/ }]) {
    const preset = (options: { stateDir?: string }): ProcessSpec => ({ ...portless(options), ...lines });
    await assert.rejects(startEphemeral(preset), {
      name: 'TypeError',
      message: /^"preset" must give its spec a port, or a readyLine with a group named port; binding has neither$/,
    });
  }
});
