/** A look at port or health during which the process that looks is kept from running: a laptop that sleeps, SIGSTOP, a busy core. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { isPortOpen } from '../../src/system/ports.js';

test('what answered meanwhile counts, although the time of the look is over', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const look = isPortOpen({ host: '127.0.0.1', port }, { timeoutMs: 50 });
  // Its connection is under way when this one comes to its second line.
  await import('node:net');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  assert.equal(await look, true);
});
