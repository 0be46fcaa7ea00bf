/** Servers that answer a gRPC call rightly, wrongly or not at all. */
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

type Test = Pick<TestContext, 'after'>;

export interface FakeServer {
  readonly address: string;
  /** The sockets that were opened, and those of them that are not closed yet. */
  readonly connections: { readonly opened: number; readonly open: number };
}

export interface GrpcCall {
  readonly stream: ServerHttp2Stream;
  readonly path: string;
  /** The request without the five bytes in front. */
  readonly message: Buffer;
}

/** HTTP/2 without TLS; `answer` is called with every complete request. */
export async function startGrpcServer(
  test: Test,
  answer: (call: GrpcCall) => void,
  { host = '127.0.0.1' }: { host?: string } = {},
): Promise<FakeServer> {
  const server = createHttp2Server();
  // The client resets what it no longer wants.
  server.on('sessionError', () => undefined);
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    // Not inside the event: a session that is destroyed there corrupts the heap (Node 20.20).
    stream.on('end', () => setImmediate(answerUnlessGone));
    const answerUnlessGone = () => {
      // Another call's answer may have ended the session.
      if (stream.destroyed) return;
      answer({ stream, path: String(headers[':path']), message: Buffer.concat(chunks).subarray(5) });
    };
  });
  return await listen(test, server as unknown as Server, host);
}

/** Bare TCP: `accept` has every new socket. */
export async function startTcpServer(test: Test, accept: (socket: Socket) => void): Promise<FakeServer> {
  const server = createTcpServer();
  server.on('connection', (socket) => {
    // Who does not read does not see the end.
    socket.on('error', () => undefined).resume();
    accept(socket);
  });
  return await listen(test, server, '127.0.0.1');
}

/** A reply as gRPC wants it; `frames` are sent one by one. */
export function reply(
  stream: ServerHttp2Stream,
  {
    frames = [SERVING],
    status = '0',
    headers = {},
  }: { frames?: readonly Uint8Array[]; status?: string | null; headers?: Record<string, string | number> } = {},
): void {
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', ...headers },
    { waitForTrailers: status !== null },
  );
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status ?? undefined }));
  for (const frame of frames) stream.write(frame);
  stream.end();
}

/** An error the short way: all in the headers. */
export function replyWithError(stream: ServerHttp2Stream, status: number): void {
  const headers = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(status) };
  stream.respond(headers, { endStream: true });
}

/** Not compressed, four bytes of length, the message. */
export function grpcFrame(message: readonly number[]): Buffer {
  return Buffer.from([0, 0, 0, 0, message.length, ...message]);
}

export const SERVING = grpcFrame([0x08, 1]);
export const NOT_SERVING = grpcFrame([0x08, 2]);

async function listen(test: Test, server: Server, host: string): Promise<FakeServer> {
  const open = new Set<Socket>();
  let opened = 0;
  server.on('connection', (socket) => {
    opened += 1;
    open.add(socket);
    socket.on('close', () => open.delete(socket));
  });
  await new Promise<void>((listening, failed) => {
    server.once('error', failed).listen(0, host, listening);
  });
  test.after(async () => {
    for (const socket of open) socket.destroy();
    await new Promise((closed) => server.close(closed));
  });
  const { port } = server.address() as AddressInfo;
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return {
    address,
    connections: {
      get opened() {
        return opened;
      },
      get open() {
        return open.size;
      },
    },
  };
}
