/** Who listens on a TCP port of Linux: the tables of sockets in /proc/net, and whose descriptors lead to one of them. */

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
 * The kernel lists those that listen first, a line a socket of about as many bytes. Read a line at a time it need not look
 * through all the connections of the machine, which takes it milliseconds.
 */
const LINE_BYTES = 150;

/** The column of the state in the heading, and of a socket that listens. */
const STATES = ['st', '0A'];

const log = debugLog('port');

/** PIDs, as far as they can be seen. When `likely` is one of them nobody else is asked, and the second table is seldom needed. */
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

/**
 * Does something accept connections there? No answer within `timeoutMs`, an abort, and an address that cannot be reached are
 * a no. Nothing is left open: a listener whose queue is full answers nothing, and the attempt would go on for two minutes.
 */
export async function isPortOpen(
  { host, port }: PortAddress,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<boolean> {
  assertSocketsAnswer();
  const over = abortAfter(timeoutMs, signal);
  const socket = builtIn('node:net').connect({ host, port });
  socket.on('error', (error) => log('%s:%d cannot be reached: %s', host, port, errorText(error)));
  try {
    await once(socket, 'connect', { signal: over.signal });
    return true;
  } catch (error) {
    // ECONNREFUSED and its like, or the end of the time.
    if (isDenied(error)) throw error;
    return false;
  } finally {
    over.clear();
    socket.destroy();
  }
}

/**
 * Node's sockets look up process.nextTick whenever they have something to tell: under a fake one they tell nothing, and their
 * silence would count as an answer.
 */
function assertSocketsAnswer(): void {
  if (!isNextTickReplaced()) return;
  throw new Error(
    'Cannot ask about a port: process.nextTick is replaced, by fake timers perhaps, and without it no socket of Node answers; have them leave it alone (toNotFake: ["nextTick"])',
  );
}

/** A TCP port of 127.0.0.1 on which nobody listens. It is not reserved: of two starts on it one ends with PortInUseError. */
export async function findFreePort(): Promise<number> {
  assertSocketsAnswer();
  const server = builtIn('node:net').createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}
