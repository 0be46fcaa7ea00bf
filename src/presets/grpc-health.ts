/**
 * gRPC over node:http2: the health check, and the unary call that it is made of. Messages of one or two fields do not need a
 * protobuf library: they are written by hand.
 *
 * The other side may be anybody: every answer that is not gRPC is an error here and "not healthy" for the caller.
 */

import type { ClientHttp2Session, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import type { Socket } from 'node:net';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { setImmediate } from '../support/globals.js';
import { builtIn } from '../support/load.js';

const log = debugLog('health');

/** A HealthCheckResponse begins with its `status` (field 1, a number): here SERVING. Fields that a newer server adds come after it. */
const SERVING = Buffer.from([0x08, 1]);

/** The wire type of protobuf for text and messages. */
const LENGTH_DELIMITED = 2;

/** Enough for every answer that is asked for here, and an end to a stranger that never stops sending. */
const MAX_REPLY_BYTES = 1024 * 1024;

/** gRPC status codes that callers tell apart. */
export const GRPC_OK = 0;
export const GRPC_NOT_FOUND = 5;
export const GRPC_UNIMPLEMENTED = 12;

/** The status says how it went (`GRPC_OK`, …); `message` is empty unless it went well. */
interface GrpcReply {
  readonly status: number;
  readonly message: Buffer;
}

/** One request, one reply. Rejects when what comes back is not a gRPC reply. */
export type UnaryCall = (method: string, request: Uint8Array) => Promise<GrpcReply>;

/**
 * Asks several things of the server at `address` (`host:port` without TLS, an IPv6 address in brackets) over one HTTP/2
 * session, which is closed at the end whatever happens. False when `ask` says so, when it throws, when the connection fails,
 * and on abort; the reason is logged as `flock-process:health`.
 */
export async function askGrpc(
  { address, signal }: { address: string; signal: AbortSignal },
  ask: (call: UnaryCall) => Promise<boolean>,
): Promise<boolean> {
  let connection: Connection | undefined;
  try {
    connection = connect(address, signal);
    const { session, failed } = connection;
    return await Promise.race([ask((method, request) => callUnary(session, method, request)), failed]);
  } catch (error) {
    log('%s is not healthy: %s', address, errorText(error));
    return false;
  } finally {
    connection?.close();
  }
}

/** Does the server say SERVING for the service (`grpc.health.v1.Health/Check`)? The empty name stands for the whole server. */
export async function isServing(call: UnaryCall, service: string): Promise<boolean> {
  const { status, message } = await call('/grpc.health.v1.Health/Check', stringField(1, service));
  const serves = message.subarray(0, SERVING.length).equals(SERVING);
  if (!serves) log('health of "%s": gRPC status %d, message %s', service, status, message.toString('hex'));
  return serves;
}

/** A protobuf field that holds text. */
export function stringField(field: number, text: string): Uint8Array {
  return messageField(field, Buffer.from(text));
}

/** A protobuf field that holds another message. */
export function messageField(field: number, message: Uint8Array): Uint8Array {
  return Buffer.concat([varint((field << 3) | LENGTH_DELIMITED), varint(message.length), message]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

interface Connection {
  readonly session: ClientHttp2Session;
  /** Rejects when the connection is lost or the signal is aborted; never resolves. */
  readonly failed: Promise<never>;
  close(): void;
}

function connect(address: string, signal: AbortSignal): Connection {
  signal.throwIfAborted();
  const { connect: connectHttp2 } = builtIn('node:http2');
  const { connect: connectTcp } = builtIn('node:net');
  let socket: Socket | undefined;
  const session = connectHttp2(`http://${address}`, {
    createConnection: () => {
      socket = connectTcp(splitAddress(address));
      return socket;
    },
    settings: { enablePush: false },
  });
  let stopListening = () => {};
  const failed = new Promise<never>((_resolve, reject) => {
    // Listeners stay: a session can have a second error, which must not be unhandled.
    session.on('error', reject);
    session.on('close', () => reject(new Error('the connection was closed')));
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    stopListening = () => signal.removeEventListener('abort', abort);
  });
  failed.catch(() => undefined);
  const close = () => {
    stopListening();
    // Not at once: this may run inside a callback of nghttp2, and what is destroyed there is freed while it is still being
    // read (Node 20.20; in a server the heap is corrupted within a few sessions).
    setImmediate(() => {
      session.destroy();
      // After a GOAWAY a destroyed session waits for the server to close the socket, and keeps this process alive meanwhile.
      socket?.destroy();
    });
  };
  return { session, failed, close };
}

function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  return { host, port: Number(address.slice(colon + 1)) };
}

function callUnary(session: ClientHttp2Session, method: string, request: Uint8Array): Promise<GrpcReply> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': method,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const chunks: Buffer[] = [];
    let size = 0;
    let headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on('error', reject);
    stream.on('response', (received) => {
      headers = received;
    });
    stream.on('trailers', (received) => {
      trailers = received;
    });
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_REPLY_BYTES) chunks.push(chunk);
      else reject(new Error(`${method}: more than ${MAX_REPLY_BYTES} bytes`));
    });
    stream.on('close', () => {
      try {
        resolve(readReply(method, headers, trailers, Buffer.concat(chunks)));
      } catch (error) {
        reject(error);
      }
    });
    stream.end(frame(request));
  });
}

function readReply(
  method: string,
  headers: IncomingHttpHeaders & IncomingHttpStatusHeader,
  trailers: IncomingHttpHeaders,
  body: Buffer,
): GrpcReply {
  const isGrpc = headers[':status'] === 200 && headers['content-type']?.startsWith('application/grpc') === true;
  if (!isGrpc) throw new Error(`${method}: HTTP status ${headers[':status']}, ${headers['content-type']}, not gRPC`);
  // An error without a message has its status in the headers ("trailers-only").
  const text = trailers['grpc-status'] ?? headers['grpc-status'];
  if (typeof text !== 'string' || !/^\d+$/.test(text)) throw new Error(`${method}: a reply without a gRPC status`);
  const status = Number(text);
  if (status !== GRPC_OK) return { status, message: Buffer.alloc(0) };
  return { status, message: unframe(method, body) };
}

/** A message on the wire: one byte "not compressed", four bytes of length, the message. */
function frame(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function unframe(method: string, body: Buffer): Buffer {
  const isOneMessage = body.length >= 5 && body[0] === 0 && body.readUInt32BE(1) === body.length - 5;
  if (!isOneMessage) throw new Error(`${method}: ${body.length} bytes that are not one gRPC message`);
  return body.subarray(5);
}
