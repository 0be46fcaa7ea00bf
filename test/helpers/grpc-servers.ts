/** Servers that answer a gRPC call correctly, incorrectly or not at all. */
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

type Test = Pick<TestContext, 'after'>;

export interface FakeServer {
  readonly address: string;
  /** How many sockets were opened, and how many of them are still open. */
  readonly connections: { readonly opened: number; readonly open: number };
}

export interface GrpcCall {
  readonly stream: ServerHttp2Stream;
  readonly path: string;
  /** The request without its five-byte prefix. */
  readonly message: Buffer;
}

/** HTTP/2 without TLS; `answer` is called with every complete request. */
export async function startGrpcServer(
  test: Test,
  answer: (call: GrpcCall) => void,
  { host = '127.0.0.1' }: { host?: string } = {},
): Promise<FakeServer> {
  const server = createHttp2Server();
  // The client resets a call whose answer it no longer wants.
  server.on('sessionError', () => undefined);
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    // The answer waits for the next turn: destroying a session inside this event corrupts the heap (Node 20.20).
    stream.on('end', () => setImmediate(answerUnlessGone));
    const answerUnlessGone = () => {
      // The answer to another call may have ended the session.
      if (stream.destroyed) return;
      answer({ stream, path: String(headers[':path']), message: Buffer.concat(chunks).subarray(5) });
    };
  });
  return await listen(test, server as unknown as Server, host);
}

/** A bare TCP server that passes each new socket to `accept`. */
export async function startTcpServer(test: Test, accept: (socket: Socket) => void): Promise<FakeServer> {
  const server = createTcpServer();
  server.on('connection', (socket) => {
    // A socket that is not read never reports its end.
    socket.on('error', () => undefined).resume();
    accept(socket);
  });
  return await listen(test, server, '127.0.0.1');
}

/** A reply in the format of gRPC; `frames` are sent one by one. */
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

/** A gRPC error in the short form, which has headers only. */
export function replyWithError(stream: ServerHttp2Stream, status: number): void {
  const headers = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(status) };
  stream.respond(headers, { endStream: true });
}

/** A gRPC frame: the flag for "not compressed", the length in four bytes, the message. */
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
