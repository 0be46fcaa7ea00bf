/** With `readyPort` a process is ready when this port accepts connections, too, although another process listens on it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import { fixture } from '../helpers/paths.js';
import { freePort } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { stateAfter } from '../helpers/talker.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** Listens on that port in this process until the end of the test. */
async function listenOn(t: Parameters<typeof redisSpec>[0], port: number) {
  const server = createServer((socket) => socket.on('error', () => undefined).end());
  t.after(() => server.close());
  await once(server.listen(port, '127.0.0.1'), 'listening');
  return server;
}

test('a process is ready when its readyPort accepts connections as well as its port', async (t) => {
  const readyPort = await freePort();
  const manager = new ProcessManager(await redisSpec(t, { readyPort, startTimeoutMs: 20_000 }));
  const spec = manager.spec;
  const start = manager.start();
  const asked = async () => (await manager.status()).checks.identity === true;
  await eventually('the process is spawned', asked);
  assert.equal(await stateAfter(STILL_MS, start), 'pending');
  const { state, checks } = await manager.status();
  assert.deepEqual([state, checks.port], ['starting', false]);
  const backend = await listenOn(t, readyPort);
  assert.equal((await start).address, `127.0.0.1:${spec.port}`);
  assert.equal((await manager.status()).state, 'running');
  backend.close();
  await eventually(
    'the process is unhealthy without its readyPort',
    async () => (await manager.status()).state === 'unhealthy',
  );
});

test('a process with only a readyPort has no address, and the error names the readyPort', async (t) => {
  const readyPort = await freePort();
  const spec = sleepSpec(t, { readyPort, startTimeoutMs: 300 });
  await assert.rejects(new ProcessManager(spec).start(), {
    name: 'StartTimeoutError',
    message: new RegExp(`it does not accept connections on 127\\.0\\.0\\.1:${readyPort};`),
  });
  await listenOn(t, readyPort);
  assert.equal((await new ProcessManager(spec).start()).address, undefined);
});

test('a listener on a readyPort causes no PortInUseError, and several processes may have the same readyPort', async (t) => {
  const readyPort = await freePort();
  await listenOn(t, readyPort);
  const specs = [await redisSpec(t, { readyPort }), sleepSpec(t, { readyPort }), sleepSpec(t, { readyPort })];
  const instances = await Promise.all(specs.map((spec) => new ProcessManager(spec).start()));
  assert.deepEqual(
    instances.map(({ reused }) => reused),
    [false, false, false],
  );
});

test('a parent with the port of its child as readyPort is ready when the child, a managed process of its own, is ready', async (t) => {
  const child = await nodeSpec(t, { 'listen-after': 300 });
  const args = [fixture('calls'), JSON.stringify(child), 'start', 'stay'];
  const parent = sleepSpec(t, { name: 'parent', command: process.execPath, args, readyPort: child.port });
  const { pid, address } = await new ProcessManager(parent).start();
  const { state, pid: childPid } = await new ProcessManager(child).status();
  assert.deepEqual([state, address], ['running', undefined]);
  assert.notEqual(childPid, pid);
  await new ProcessManager(parent).stop();
  assert.equal((await new ProcessManager(child).status()).state, 'running');
});
