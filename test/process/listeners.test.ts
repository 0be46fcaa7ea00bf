import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { processTable } from '../../src/system/process-table.js';
import { startProgram } from '../helpers/programs.js';

/** This number of sockets fills more than one page of the kernel's table. */
const SERVERS = 60;
const CONNECTIONS = 100;

test('a listener is found among many listeners and connections, on IPv4 and IPv6, with and without a likely PID', async (t) => {
  const stranger = startProgram(t, 'sleep', ['300']);
  for (const host of ['127.0.0.1', '::1', '::']) {
    const ports = await Promise.all(Array.from({ length: SERVERS }, () => listen(t, host)));
    await Promise.all(Array.from({ length: CONNECTIONS }, (_, index) => meet(t, host, ports[index % SERVERS] ?? 0)));
    for (const [index, port] of ports.entries()) {
      assert.deepEqual(pidsAt(port, process.pid), [process.pid], `${host} ${port}`);
      // Only two of the ports are checked in full, as each takes a walk through all processes. Another address may have
      // another listener.
      if (index % (SERVERS - 1) !== 0) continue;
      for (const likely of [stranger.pid, undefined]) {
        assert.ok(pidsAt(port, likely).includes(process.pid), `${host} ${port}, likely ${likely}`);
      }
    }
  }
});

test('a process that is connected to a port, or has stopped listening on it, is no listener', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await meet(t, '127.0.0.1', port);
  // The listening socket is closed at once, but 'close' comes only with the end of the last connection.
  server.close();
  for (const likely of [process.pid, undefined]) assert.ok(!pidsAt(port, likely).includes(process.pid));
});

function pidsAt(port: number, likely?: number): number[] {
  return processTable()
    .listeners(port, likely)
    .map(({ pid }) => pid);
}

async function listen(t: TestContext, host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function meet(t: TestContext, host: string, port: number): Promise<void> {
  const socket = connect(port, host === '::' ? '::1' : host);
  t.after(() => socket.destroy());
  await once(socket, 'connect');
}
