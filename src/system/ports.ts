/** Who listens on a TCP port: the tables of sockets in /proc/net, where there are any, and an attempt to connect. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { abortAfter } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, isDenied } from '../support/errors.js';
import { isNextTickReplaced } from '../support/globals.js';
import { builtIn } from '../support/load.js';
import { descriptors, pids, readLines, readLink } from './proc-files.js';

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

/**
 * The kernel lists listening sockets first, one a line of about so many bytes. If the table is read a line at a time,
 * the kernel does not walk through all the connections of the machine, which takes milliseconds.
 */
const LINE_BYTES = 150;

/** The state column: its heading, and its value for a listening socket. */
const STATES = ['st', '0A'];

const log = debugLog('port');

/** PIDs of the visible listeners. If `likely` is one, nobody else is examined, and the second table is seldom read. */
export function listenerPids(port: number, likely?: number): number[] {
  const likelySockets = likely === undefined ? [] : socketsOf(likely);
  const sockets: string[] = [];
  for (const socket of listeningSockets(port)) {
    if (likely !== undefined && likelySockets.includes(socket)) return [likely];
    sockets.push(socket);
  }
  if (sockets.length === 0) return [];
  return pids().filter((pid) => socketsOf(pid).some((socket) => sockets.includes(socket)));
}

function socketsOf(pid: number): string[] {
  const links = descriptors(pid).map((fd) => readLink(`/proc/${pid}/fd/${fd}`) ?? '');
  return links.filter((link) => link.startsWith('socket:'));
}

function* listeningSockets(port: number): Generator<string> {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  for (const table of TABLES) {
    for (const line of readLines(table, LINE_BYTES)) {
      const [, local, , state = '', , , , , , inode] = line.trim().split(/\s+/);
      if (!STATES.includes(state)) break;
      if (local?.endsWith(`:${hexPort}`)) yield `socket:[${inode}]`;
    }
  }
}

export type PortAddress = { readonly host: string; readonly port: number };

export type LookOptions = { timeoutMs: number; signal?: AbortSignal | undefined };

/** A listener of this machine answers sooner, unless its queue is full. */
const SILENCE_MS = 100;

/**
 * Does somebody listen there before our own server does? A listener whose queue is full, above all a suspended one,
 * does not answer, but it is in the table of sockets.
 */
export async function isPortUsed(address: PortAddress, { timeoutMs, signal }: LookOptions): Promise<boolean> {
  const answer = await askPort(address, { timeoutMs: Math.min(timeoutMs, SILENCE_MS), signal });
  if (answer !== 'silent') return answer === 'open';
  // Destructuring closes the table: a generator that is merely abandoned keeps its descriptor for good.
  const [socket] = listeningSockets(address.port);
  return socket !== undefined;
}

/** Does something accept connections there? False when nothing answers, or the address cannot be reached. */
export async function isPortOpen(address: PortAddress, options: LookOptions): Promise<boolean> {
  return (await askPort(address, options)) === 'open';
}

/**
 * 'silent': no answer within `timeoutMs`, or before an abort. The socket is always destroyed: an attempt that nobody
 * answers would go on for two minutes.
 */
async function askPort(
  { host, port }: PortAddress,
  { timeoutMs, signal }: LookOptions,
): Promise<'open' | 'closed' | 'silent'> {
  assertSocketsAnswer();
  const over = abortAfter(timeoutMs, signal);
  const socket = builtIn('node:net').connect({ host, port });
  socket.on('error', (error) => log('%s:%d cannot be reached: %s', host, port, errorText(error)));
  try {
    await once(socket, 'connect', { signal: over.signal });
    const { localPort, localAddress, remotePort, remoteAddress } = socket;
    if (localPort !== remotePort || localAddress !== remoteAddress) return 'open';
    // Nobody listens there: the system gave the connection that very port as its own end, and connected it to itself.
    // An orderly close would keep the port from our server for a minute.
    socket.resetAndDestroy();
    return 'closed';
  } catch (error) {
    // ECONNREFUSED and the like, or the time is over.
    if (isDenied(error)) throw error;
    return over.signal.aborted ? 'silent' : 'closed';
  } finally {
    over.clear();
    socket.destroy();
  }
}

/** Node's sockets report events through process.nextTick: with a fake one their silence would count as an answer. */
export function assertSocketsAnswer(): void {
  if (!isNextTickReplaced()) return;
  throw new Error(
    'Cannot ask about a port: process.nextTick is replaced, by fake timers perhaps, and without it no socket of Node answers; have them leave it alone (toNotFake: ["nextTick"])',
  );
}

/** A TCP port of 127.0.0.1 on which nobody listens. It is not reserved: of two starts on it one gets PortInUseError. */
export async function findFreePort(): Promise<number> {
  assertSocketsAnswer();
  const server = builtIn('node:net').createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}

/** `host:port` as the spec has it, with an IPv6 address in brackets. */
export function addressOf({ host, port }: { host: string; port?: number | undefined }): string | undefined {
  if (port === undefined) return undefined;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
