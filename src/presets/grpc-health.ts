/**
 * gRPC over node:http2: the health check, and the unary call that it consists of. Messages of one or two fields do not
 * need a protobuf library: they are encoded by hand.
 *
 * The other side may be any server: every answer that is not gRPC is an error here and "not healthy" for the caller.
 */

import type { ClientHttp2Session, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import type { Socket } from 'node:net';
import { onAbort, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { setImmediate } from '../support/globals.js';
import { builtIn } from '../support/load.js';

const log = debugLog('health');

/** A HealthCheckResponse begins with its `status` (field 1, a number): here SERVING. Newer servers append fields. */
const SERVING = Buffer.from([0x08, 1]);

/** The wire type of protobuf for text and messages. */
const LENGTH_DELIMITED = 2;

/** Enough for every answer that is requested here, and a limit for a stranger that never stops sending. */
const MAX_REPLY_BYTES = 1024 * 1024;

export const GRPC_STATUS = { ok: 0, notFound: 5, unimplemented: 12 };

/** One request, one reply, with a message only if the status is GRPC_STATUS.ok. Rejects when the reply is not gRPC. */
export type UnaryCall = (method: string, request: Uint8Array) => Promise<{ status: number; message: Buffer }>;

/**
 * Makes several calls to the server at `address` (`host:port` without TLS, an IPv6 address in brackets) over one HTTP/2
 * session, which is closed at the end whatever happens. False when `ask` returns false or throws, when the connection
 * fails, and on abort; the reason is logged as `flock-process:health`.
 */
export async function askGrpc(
  { address, signal }: { address: string; signal: AbortSignal },
  ask: (call: UnaryCall) => Promise<boolean>,
): Promise<boolean> {
  let close = () => {};
  let forget = () => {};
  try {
    throwIfAborted(signal);
    let socket: Socket | undefined;
    const session = builtIn('node:http2').connect(`http://${address}`, {
      // A session that is destroyed while it connects goes on connecting, for two minutes.
      createConnection: ({ hostname, port }) => {
        socket = builtIn('node:net').connect({ host: hostname.replace(/[[\]]/g, ''), port: Number(port) || 80 });
        return socket;
      },
      settings: { enablePush: false },
    });
    // The calls fail with the session's errors. The listener stays: a second error must not be unhandled.
    session.on('error', () => undefined);
    // destroy() ends the calls, too. It runs in a later turn: this may be inside a callback of nghttp2, and what is
    // destroyed there is freed while it is still being read (Node 20.20; in a server the heap is corrupted within a few
    // sessions).
    const destroy = () => {
      session.destroy();
      // After a GOAWAY a destroyed session waits for the server to close the socket, and keeps this process alive meanwhile.
      socket?.destroy();
    };
    close = () => setImmediate(destroy);
    forget = onAbort(signal, close);
    return await ask((method, request) => callUnary(session, method, request));
  } catch (error) {
    log('%s is not healthy: %s', address, errorText(signal.aborted ? signal.reason : error));
    return false;
  } finally {
    forget();
    close();
  }
}

/** Does the server say SERVING for the service (`grpc.health.v1.Health/Check`)? The empty name stands for the whole server. */
export async function isServing(call: UnaryCall, service: string): Promise<boolean> {
  const { status, message } = await call('/grpc.health.v1.Health/Check', lengthDelimited(1, service));
  const serves = message.subarray(0, SERVING.length).equals(SERVING);
  if (!serves) log('health of "%s": gRPC status %d, message %s', service, status, message.toString('hex'));
  return serves;
}

/** A protobuf field that holds text or another message. */
export function lengthDelimited(field: number, content: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(content);
  return Buffer.concat([varint((field << 3) | LENGTH_DELIMITED), varint(bytes.length), bytes]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

async function callUnary(session: ClientHttp2Session, method: string, request: Uint8Array): ReturnType<UnaryCall> {
  const stream = session.request({
    ':method': 'POST',
    ':path': method,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  // Trailers join the headers: an error without a message has its status in the headers ("trailers-only").
  const headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
  let body = Buffer.alloc(0);
  await new Promise<void>((resolve, reject) => {
    stream.on('error', reject);
    stream.on('response', (received) => Object.assign(headers, received));
    stream.on('trailers', (received) => Object.assign(headers, received));
    stream.on('data', (chunk: Buffer) => {
      body = Buffer.concat([body, chunk]);
      if (body.length > MAX_REPLY_BYTES) reject(new Error(`${method}: more than ${MAX_REPLY_BYTES} bytes`));
    });
    stream.on('close', resolve);
    // A message on the wire: one byte "not compressed", four bytes of length, the message.
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(request.length, 1);
    stream.end(Buffer.concat([prefix, request]));
  });
  const isGrpc = headers[':status'] === 200 && headers['content-type']?.startsWith('application/grpc') === true;
  if (!isGrpc) throw new Error(`${method}: HTTP status ${headers[':status']}, ${headers['content-type']}, not gRPC`);
  const status = headers['grpc-status'];
  if (typeof status !== 'string' || !/^\d+$/.test(status)) throw new Error(`${method}: a reply without a gRPC status`);
  if (Number(status) !== GRPC_STATUS.ok) return { status: Number(status), message: Buffer.alloc(0) };
  const isOneMessage = body.length >= 5 && body[0] === 0 && body.readUInt32BE(1) === body.length - 5;
  if (!isOneMessage) throw new Error(`${method}: ${body.length} bytes that are not one gRPC message`);
  return { status: GRPC_STATUS.ok, message: body.subarray(5) };
}
