import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { askGrpc, isServing } from '../../src/presets/grpc-health.js';
import {
  type FakeServer,
  type GrpcCall,
  grpcFrame,
  NOT_SERVING,
  reply,
  replyWithError,
  SERVING,
  startGrpcServer,
  startTcpServer,
} from '../helpers/grpc-servers.js';
import { plainFixture } from '../helpers/paths.js';
import { startFixture, startProgram } from '../helpers/programs.js';
import { freePort } from '../helpers/resources.js';
import { eventually, MUST_HAPPEN_MS, STILL_MS } from '../helpers/waiting.js';

async function checkUntil(signal: AbortSignal, address: string, service = ''): Promise<boolean> {
  return await askGrpc({ address, signal }, (call) => isServing(call, service));
}

/** A check that hangs would also give false in the end, so it must end by itself long before this limit. */
async function check({ address }: Pick<FakeServer, 'address'>, service?: string): Promise<boolean> {
  const signal = AbortSignal.timeout(MUST_HAPPEN_MS);
  const answer = await checkUntil(signal, address, service);
  assert.equal(signal.aborted, false, 'the check did not end by itself');
  return answer;
}

const HTTP2_FRAME = { settings: 4, goaway: 7 };

function http2Frame(type: number, payload: readonly number[] = []): Buffer {
  return Buffer.from([0, 0, payload.length, type, 0, 0, 0, 0, 0, ...payload]);
}

test('a server that is serving is healthy', async (t) => {
  const server = await startGrpcServer(t, ({ stream }) => reply(stream));
  assert.equal(await check(server), true);
});

test('the service is asked for by its name, however long', async (t) => {
  const calls: GrpcCall[] = [];
  const server = await startGrpcServer(t, (call) => {
    calls.push(call);
    reply(call.stream);
  });
  const long = 'ä'.repeat(100);
  for (const service of ['a.B', long]) assert.equal(await check(server, service), true);
  assert.deepEqual(
    calls.map(({ path }) => path),
    ['/grpc.health.v1.Health/Check', '/grpc.health.v1.Health/Check'],
  );
  assert.deepEqual(calls[0]?.message, Buffer.from([0x0a, 3, ...Buffer.from('a.B')]));
  assert.deepEqual(calls[1]?.message, Buffer.from([0x0a, 0xc8, 0x01, ...Buffer.from(long)]));
});

test('a reply in many small frames is one reply', async (t) => {
  const frames = [...SERVING].map((byte) => Buffer.from([byte]));
  const server = await startGrpcServer(t, ({ stream }) => reply(stream, { frames }));
  assert.equal(await check(server), true);
});

test('fields that a newer server adds are ignored', async (t) => {
  const newer = grpcFrame([0x08, 1, 0x12, 2, 1, 2, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x28, 0xff, 0x01]);
  const server = await startGrpcServer(t, ({ stream }) => reply(stream, { frames: [newer] }));
  assert.equal(await check(server), true);
});

test('a server on an IPv6 address is found by the address in brackets', async (t) => {
  const server = await startGrpcServer(t, ({ stream }) => reply(stream), { host: '::1' });
  assert.match(server.address, /^\[::1\]:\d+$/);
  assert.equal(await check(server), true);
});

const wrongReplies: Record<string, (call: GrpcCall) => void> = {
  'says that it is not serving': ({ stream }) => reply(stream, { frames: [NOT_SERVING] }),
  'says that the status is unknown': ({ stream }) => reply(stream, { frames: [grpcFrame([0x08, 0])] }),
  'leaves the status out': ({ stream }) => reply(stream, { frames: [grpcFrame([])] }),
  'has the right number in another field': ({ stream }) => reply(stream, { frames: [grpcFrame([0x10, 1])] }),
  'does not know the service (headers only)': ({ stream }) => replyWithError(stream, 5),
  'does not implement the check (headers only)': ({ stream }) => replyWithError(stream, 12),
  'fails after the message': ({ stream }) => reply(stream, { status: '13' }),
  'sends a status that is no number': ({ stream }) => reply(stream, { status: 'OK' }),
  'sends no status': ({ stream }) => reply(stream, { status: null }),
  'sends no message': ({ stream }) => reply(stream, { frames: [] }),
  'sends half a message': ({ stream }) => reply(stream, { frames: [SERVING.subarray(0, 6)] }),
  'sends two messages': ({ stream }) => reply(stream, { frames: [SERVING, SERVING] }),
  'sends a compressed message': ({ stream }) => reply(stream, { frames: [Buffer.from([1, ...SERVING.subarray(1)])] }),
  'sends a number that ends too early': ({ stream }) => reply(stream, { frames: [grpcFrame([0x08, 0x81])] }),
  'sends a number without end': ({ stream }) => reply(stream, { frames: [grpcFrame(Array(20).fill(0xff))] }),
  'answers with a web page': ({ stream }) => reply(stream, { headers: { 'content-type': 'text/html' } }),
  'answers with 404': ({ stream }) => reply(stream, { headers: { ':status': 404 } }),
  'resets the stream': ({ stream }) => stream.close(2),
  'resets the stream after the message': ({ stream }) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.write(SERVING, () => stream.close(2));
  },
  'ends the session instead': ({ stream }) => stream.session?.goaway(2),
  'drops the connection instead': ({ stream }) => stream.session?.destroy(),
  'never stops sending': ({ stream }) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    const more = () => stream.destroyed || stream.write(Buffer.alloc(65_536), more);
    more();
  },
};

for (const [what, answer] of Object.entries(wrongReplies)) {
  test(`a server that ${what} is not healthy`, async (t) => {
    const server = await startGrpcServer(t, answer);
    assert.equal(await check(server), false);
    await eventually('the connection is closed', () => server.connections.open === 0);
  });
}

const strangers: Record<string, (socket: Socket) => void> = {
  'closes every connection': (socket) => socket.destroy(),
  'resets every connection': (socket) => socket.resetAndDestroy(),
  'resets the connection in the middle': (socket) => socket.once('data', () => socket.resetAndDestroy()),
  'ends the connection in the middle': (socket) => socket.once('data', () => socket.end()),
  'speaks noise': (socket) => socket.write(Buffer.alloc(4096, 0xa5)),
  'greets in text': (socket) => socket.write('220 mail.example ESMTP ready\r\n'),
  'says GOAWAY at once, and keeps the connection': (socket) => {
    socket.pause();
    socket.write(Buffer.concat([http2Frame(HTTP2_FRAME.settings), http2Frame(HTTP2_FRAME.goaway, Array(8).fill(0))]));
  },
};

for (const [what, accept] of Object.entries(strangers)) {
  test(`a stranger that ${what} is not healthy`, async (t) => {
    const server = await startTcpServer(t, accept);
    assert.equal(await check(server), false);
  });
}

test('a web server is not healthy', async (t) => {
  const server = createServer((_request, response) => response.end('hello')).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await eventually('the server listens', () => server.listening);
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  assert.equal(await check({ address: `127.0.0.1:${address.port}` }), false);
});

test('a port without a listener is not healthy', async () => {
  assert.equal(await check({ address: `127.0.0.1:${await freePort()}` }), false);
});

test('an invalid address is not healthy, and causes no error', async () => {
  for (const address of ['', 'x', ':', '127.0.0.1:', '127.0.0.1:99999', '127.0.0.1:x', '[::1:1', 'a b:1']) {
    assert.equal(await check({ address }), false, address);
  }
});

const silent: Record<string, (test: TestContext) => Promise<FakeServer>> = {
  'nothing at all': (t) => startTcpServer(t, () => undefined),
  'nothing after its settings': (t) => startTcpServer(t, (socket) => socket.write(http2Frame(HTTP2_FRAME.settings))),
  'nothing after the headers': (t) =>
    startGrpcServer(t, ({ stream }) => stream.respond({ ':status': 200, 'content-type': 'application/grpc' })),
  'nothing after half the message': (t) =>
    startGrpcServer(t, ({ stream }) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(SERVING.subarray(0, 6));
    }),
  'everything but the trailers': (t) =>
    startGrpcServer(t, ({ stream }) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(SERVING);
    }),
};

for (const [what, start] of Object.entries(silent)) {
  test(`an abort ends the check of a server that says ${what}`, async (t) => {
    const server = await start(t);
    const abort = new AbortController();
    let isOver = false;
    const answer = checkUntil(abort.signal, server.address);
    void answer.finally(() => {
      isOver = true;
    });
    await eventually('the connection is open', () => server.connections.open === 1);
    await new Promise((resolve) => setTimeout(resolve, STILL_MS));
    assert.equal(isOver, false, 'the check ended before it was aborted');
    abort.abort();
    assert.equal(await answer, false);
    await eventually('the connection is closed', () => server.connections.open === 0);
  });
}

test('a check that is aborted before it begins opens no connection', async (t) => {
  const server = await startGrpcServer(t, ({ stream }) => reply(stream));
  assert.equal(await checkUntil(AbortSignal.abort(), server.address), false);
  assert.equal(server.connections.opened, 0);
});

test('a check leaves no connection and no listener behind', async (t) => {
  const server = await startGrpcServer(t, ({ stream }) => reply(stream));
  const { signal } = new AbortController();
  for (let count = 0; count < 20; count += 1) {
    assert.equal(await checkUntil(signal, server.address), true);
  }
  assert.equal(getEventListeners(signal, 'abort').length, 0);
  await eventually('all connections are closed', () => server.connections.open === 0);
  assert.equal(server.connections.opened, 20);
});

test('a process that has checked any server ends by itself and prints nothing on stderr', async (t) => {
  const fullBacklog = startProgram(t, 'python3', [plainFixture('full-backlog.py')]);
  const servers = [
    await startGrpcServer(t, ({ stream }) => reply(stream)),
    await startGrpcServer(t, ({ stream }) => reply(stream, { frames: [NOT_SERVING] })),
    ...(await Promise.all(Object.values(strangers).map((accept) => startTcpServer(t, accept)))),
    await startTcpServer(t, () => undefined),
    { address: `127.0.0.1:${(await fullBacklog.printed(/^(\d+)\n/))[1]}` },
  ];
  // The processes run one after another: many at once would measure the machine.
  for (const [index, { address }] of servers.entries()) {
    // The last two servers never answer, and the very last one accepts no connection. The others must answer, but may be slow.
    const limitMs = index >= servers.length - 2 ? 1_000 : MUST_HAPPEN_MS;
    const { exitCode, stdout, stderr } = await startFixture(t, 'grpc-check', [address, String(limitMs)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    }).ended({ withinMs: 2 * MUST_HAPPEN_MS });
    assert.deepEqual({ exitCode, stdout, stderr }, { exitCode: 0, stdout: `${index === 0}\n`, stderr: '' });
  }
});
