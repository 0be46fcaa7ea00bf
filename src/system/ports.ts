/** Who listens on a TCP port of Linux: the tables of sockets in /proc/net, and whose descriptors lead to one of them. */

import { once } from 'node:events';
import { abortAfter } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { builtIn } from '../support/load.js';
import { descriptors, pids, readLinesWhile, readLink } from './proc-files.js';

/**
 * The kernel lists those that listen first (Documentation/networking/proc_net_tcp.rst), a line a socket of about as many
 * bytes. Read a line at a time it need not look through all the connections of the machine, which takes it milliseconds.
 */
const LINE_BYTES = 150;

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

const LISTENING = '0A';

const log = debugLog('port');

/**
 * PIDs of those that listen on the port, whatever their address; undefined for a socket whose process cannot be seen.
 * When one in `likely` does, nobody else is asked, and the second table is seldom needed.
 */
export function listenerPids(port: number, likely: readonly number[]): (number | undefined)[] {
  const wanted = new Set<string>();
  const owners = new Map(likely.flatMap((pid) => socketsOf(pid).map((socket) => [socket, pid] as const)));
  for (const table of TABLES) {
    let found: number | undefined;
    forEachListening(table, port, (socket) => {
      wanted.add(socket);
      found = owners.get(socket);
      return found === undefined;
    });
    if (found !== undefined) return [found];
  }
  const found = ownersAmong(wanted.size === 0 ? [] : pids(), wanted);
  return [...found, ...Array.from(wanted, () => undefined)];
}

/** Takes the sockets whose owner is found out of `wanted`. */
function ownersAmong(candidates: readonly number[], wanted: Set<string>): number[] {
  const found: number[] = [];
  for (const pid of candidates) {
    if (wanted.size === 0) break;
    for (const socket of socketsOf(pid)) if (wanted.delete(socket)) found.push(pid);
  }
  return found;
}

function socketsOf(pid: number): string[] {
  const links = descriptors(pid).map((fd) => readLink(`/proc/${pid}/fd/${fd}`) ?? '');
  return links.filter((link) => link.startsWith('socket:'));
}

/** Sockets in state LISTEN on this port, until `goesOn` says no. */
function forEachListening(table: string, port: number, goesOn: (socket: string) => boolean): void {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0');
  let isHeading = true;
  readLinesWhile(table, LINE_BYTES, (line) => {
    if (isHeading) {
      isHeading = false;
      return true;
    }
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state !== LISTENING) return false;
    return !local?.endsWith(`:${hexPort}`) || inode === undefined || goesOn(`socket:[${inode}]`);
  });
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

export async function findFreePort(): Promise<number> {
  const { createServer } = builtIn('node:net');
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('the system gave no TCP address');
  return address.port;
}
