/** Who listens on a TCP port of Linux: the tables of sockets in /proc/net, and whose descriptors lead to one of them. */
import { descriptors, pids, readLinesWhile, readLink } from './proc-files.js';

/**
 * The kernel lists those that listen first (Documentation/networking/proc_net_tcp.rst), a line a socket of about as many
 * bytes. Read a line at a time it need not look through all the connections of the machine, which takes it milliseconds.
 */
const LINE_BYTES = 150;

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];

const LISTENING = '0A';

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
