/**
 * TCP ports: one look at who answers, and a kernel lock per port.
 *
 * A listener that was there before us makes a naive check say "ready". Two managers with different locks and one port can
 * both have looked before either spawned. So whoever starts something on a port takes that port's lock before the look and
 * keeps it until ready.
 */

import { join } from 'node:path';
import { portInUseError, visibleListener } from '../inspect/checks.js';
import { acquireLock, isLocked } from '../lock/file-lock.js';
import type { FileLock } from '../lock/held-lock.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, LockHeldError, PortInUseError } from '../support/errors.js';
import { userFolder } from '../support/files.js';
import { findFreePort, isPortOpen, type PortAddress } from '../system/ports.js';

const log = debugLog('port');

/** After a crash the lock can be free an instant before the socket is. */
const LISTENER_GRACE_MS = 300;

/** How often a start that looks at a port asks whether it is still wanted. */
const GUARD_MS = 25;

/** The system hands out its free ports in no order: one that is being started by somebody else is met rarely. */
const FREE_PORT_ATTEMPTS = 50;

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
 * A TCP port of 127.0.0.1 on which nobody listens, and on which no process of this user is being started. It is not reserved:
 * the start takes its lock. Of two that are given the same one at the same time one start ends with PortInUseError.
 */
export async function chooseFreePort(): Promise<number> {
  const folder = userFolder();
  for (let attempt = 0; attempt < FREE_PORT_ATTEMPTS; attempt += 1) {
    const port = await findFreePort();
    if (folder === undefined || !isLocked(portLockFile(folder, port))) return port;
  }
  throw new Error(`no free port in ${FREE_PORT_ATTEMPTS} attempts`);
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
