/**
 * TCP ports: one look at who answers, and a kernel lock per port.
 *
 * A listener that was there before us makes a naive check say "ready". Two managers with different locks and one port can
 * both have looked before either spawned. So whoever starts something on a port takes that port's lock before the look and
 * keeps it until ready.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { acquireLock, type FileLock } from '../lock/file-lock.js';
import { abortAfter, Deadline, Pace } from '../shared/deadline.js';
import { debugLog } from '../shared/debug.js';
import { errorText } from '../shared/error-text.js';
import { LockHeldError, PortInUseError } from '../shared/errors.js';
import { userFolder } from '../shared/user-folder.js';
import { LOCK_FD } from './identity.js';
import type { CompleteSpec } from './process-spec.js';
import { type ProcessInfo, processTable } from './process-table.js';

const log = debugLog('port');

/** After a crash the lock can be free an instant before the socket is. */
const LISTENER_GRACE_MS = 300;

/** How often a start that looks at a port asks whether it is still wanted. */
const GUARD_MS = 25;

/** The system hands out its free ports in no order: one that is being started by somebody else is met rarely. */
const RESERVE_ATTEMPTS = 50;

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
  const { connect } = await import('node:net');
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

/**
 * The lock of the port, across all managers of this user on this machine.
 * @param guard called between attempts, ends the wait by throwing
 * @returns undefined when its folder is not ours to use: then there is only the look at the port
 * @throws PortInUseError when another start keeps it until the deadline
 */
export async function lockPort(
  spec: Pick<CompleteSpec, 'name'>,
  port: number,
  { deadline, guard }: { deadline: Deadline; guard: () => void },
): Promise<FileLock | undefined> {
  const folder = userFolder();
  if (folder === undefined) return undefined;
  const pace = new Pace();
  for (;;) {
    try {
      return acquireLock(portLockFile(folder, port));
    } catch (error) {
      if (!(error instanceof LockHeldError)) {
        log('no lock for port %d: %s', port, errorText(error));
        return undefined;
      }
      if (deadline.isOver) {
        const message = `Cannot start ${spec.name}: another process is being started on port ${port}`;
        throw new PortInUseError(message, { port, pid: undefined, cause: error });
      }
    }
    await pace.wait({ deadline });
    guard();
  }
}

/**
 * A free TCP port of 127.0.0.1, with its lock: no other process of this user that asks the same way gets it meanwhile.
 * The lock is undefined when its folder is not ours to use.
 */
export async function reservePort(): Promise<{ port: number; lock: FileLock | undefined }> {
  const folder = userFolder();
  for (let attempt = 0; attempt < RESERVE_ATTEMPTS; attempt += 1) {
    const port = await findFreePort();
    if (folder === undefined) return { port, lock: undefined };
    try {
      return { port, lock: acquireLock(portLockFile(folder, port)) };
    } catch (error) {
      if (!(error instanceof LockHeldError)) throw error;
    }
  }
  throw new Error(`no free port in ${RESERVE_ATTEMPTS} attempts`);
}

async function findFreePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('the system gave no TCP address');
  return address.port;
}

function portLockFile(folder: string, port: number): string {
  return join(folder, `port-${port}.lock`);
}

/**
 * @param guard called again and again, ends the wait by throwing
 * @throws PortInUseError when somebody listens there, after a short time for a socket that is just going
 */
export async function refuseBusyPort(
  spec: CompleteSpec,
  address: PortAddress,
  limits: { deadline: Deadline; guard: () => void },
): Promise<void> {
  const grace = Deadline.after(LISTENER_GRACE_MS);
  const pace = new Pace();
  while (await isBusy(spec, address, limits)) {
    if (grace.isOver) throw portInUseError(spec, address.port, visibleListener(address.port)?.pid);
    await pace.wait();
  }
}

/** A listener whose queue is full answers nothing: a start that is not wanted any more does not wait for that. */
async function isBusy(
  { checkTimeoutMs }: CompleteSpec,
  address: PortAddress,
  { deadline, guard }: { deadline: Deadline; guard: () => void },
): Promise<boolean> {
  const over = new AbortController();
  const watch = setInterval(() => {
    try {
      guard();
    } catch (reason) {
      over.abort(reason);
    }
  }, GUARD_MS);
  try {
    const timeoutMs = Math.min(checkTimeoutMs, deadline.remainingMs);
    const isOpen = await isPortOpen(address, { timeoutMs, signal: over.signal });
    guard();
    return isOpen;
  } finally {
    clearInterval(watch);
  }
}

/**
 * Evidence that it is not our process that answers on the port: a visible process outside of its family listens there, and
 * is older than it or runs under a lock of its own. Nothing follows when no such process is seen (under `docker run -p` a
 * proxy listens, younger than its container's client).
 */
export function foreignListener({ port, lockFile }: CompleteSpec, ours: ProcessInfo): ProcessInfo | undefined {
  if (port === undefined) return undefined;
  const table = processTable();
  const found = table.listeners(port, [ours.pid]);
  const processes = found.flatMap(({ process }) => process ?? []);
  if (processes.some((process) => isFamily(process, ours))) return undefined;
  const isManagedElsewhere = ({ pid }: ProcessInfo) => table.lostLock(pid, LOCK_FD, lockFile) !== undefined;
  return processes.find((process) => table.age(process) > table.age(ours) || isManagedElsewhere(process));
}

export function portInUseError({ name }: Pick<CompleteSpec, 'name'>, port: number, pid?: number): PortInUseError {
  const who = pid === undefined ? 'another process' : `another process (PID ${pid})`;
  return new PortInUseError(`Cannot start ${name}: ${who} listens on port ${port}`, { port, pid });
}

/** Of its session, or begun by it: a process that runs under a lock of its own can be ours all the same. */
function isFamily(process: ProcessInfo, ours: ProcessInfo): boolean {
  if (process.sessionId === ours.sessionId) return true;
  let ancestor: ProcessInfo | undefined = process;
  while (ancestor !== undefined && ancestor.pid > 1 && ancestor.pid !== ours.pid) {
    ancestor = processTable().lookUp(ancestor.parentPid);
  }
  return ancestor?.pid === ours.pid;
}

function visibleListener(port: number): ProcessInfo | undefined {
  return processTable()
    .listeners(port, [])
    .map(({ process }) => process)
    .find((process) => process !== undefined);
}
