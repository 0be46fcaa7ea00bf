/** Who listens on a TCP port of Linux: the tables of sockets in /proc/net, and whose descriptors lead to one of them. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { abortAfter } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { builtIn } from '../support/load.js';
import { descriptors, pids, readLines, readLink } from './proc-files.js';

/**
 * The kernel lists those that listen first (Documentation/networking/proc_net_tcp.rst), a line a socket of about as many
 * bytes. Read a line at a time it need not look through all the connections of the machine, which takes it milliseconds.
 */
const LINE_BYTES = 150;

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

/** What the column of the state says. */
const HEADING = 'st';
const LISTENING = '0A';

const log = debugLog('port');

/**
 * PIDs of those that listen on the port, whatever their address, as far as they can be seen. When `likely` is one of them
 * nobody else is asked, and the second table is seldom needed.
 */
export function listenerPids(port: number, likely?: number): number[] {
  const likelySockets = likely === undefined ? [] : socketsOf(likely);
  const sockets = new Set<string>();
  for (const table of TABLES) {
    for (const socket of listeningSockets(table, port)) {
      if (likely !== undefined && likelySockets.includes(socket)) return [likely];
      sockets.add(socket);
    }
  }
  if (sockets.size === 0) return [];
  return pids().filter((pid) => socketsOf(pid).some((socket) => sockets.has(socket)));
}

function socketsOf(pid: number): string[] {
  const links = descriptors(pid).map((fd) => readLink(`/proc/${pid}/fd/${fd}`) ?? '');
  return links.filter((link) => link.startsWith('socket:'));
}

function* listeningSockets(table: string, port: number): Generator<string> {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  for (const line of readLines(table, LINE_BYTES)) {
    const [, local, , state = '', , , , , , inode] = line.trim().split(/\s+/);
    if (![HEADING, LISTENING].includes(state)) return;
    if (local?.endsWith(`:${hexPort}`)) yield `socket:[${inode}]`;
  }
}

export interface PortAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * Does something accept connections there? No answer within `timeoutMs`, an abort, and an address that cannot be reached are
 * a no. Nothing is left open: a listener whose queue is full answers nothing, and the attempt would go on for two minutes.
 */
export async function isPortOpen(
  { host, port }: PortAddress,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<boolean> {
  const { connect } = builtIn('node:net');
  const over = abortAfter(timeoutMs, signal);
  const socket = connect({ host, port });
  socket.on('error', (error) => log('%s:%d cannot be reached: %s', host, port, errorText(error)));
  try {
    await once(socket, 'connect', { signal: over.signal });
    return true;
  } catch {
    // ECONNREFUSED and its like, or the end of the time.
    return false;
  } finally {
    over.clear();
    socket.destroy();
  }
}

/** A TCP port of 127.0.0.1 on which nobody listens. It is not reserved: of two starts on it one ends with PortInUseError. */
export async function findFreePort(): Promise<number> {
  const { createServer } = builtIn('node:net');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}
