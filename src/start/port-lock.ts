/**
 * TCP ports: one look at who answers, and a kernel lock per port.
 *
 * A listener that was there before us makes a naive check say "ready". Two managers with different locks and one port can
 * both have looked before either spawned. So whoever starts something on a port takes that port's lock before the look and
 * keeps it until ready.
 */

import { join } from 'node:path';
import { portInUseError, visibleListener } from '../inspect/checks.js';
import { isLocked, tryAcquireLock } from '../lock/file-lock.js';
import type { FileLock } from '../lock/held-lock.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { Deadline, poll } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, PortInUseError } from '../support/errors.js';
import { userFolder } from '../support/files.js';
import { findFreePort, isPortOpen, type PortAddress } from '../system/ports.js';

const log = debugLog('port');

/** After a crash the lock can be free an instant before the socket is. */
const LISTENER_GRACE_MS = 300;

/** A listener of this machine answers at once, unless its queue is full: then it answers nothing, and is taken for none. */
const LOOK_MS = 1_000;

/**
 * The lock of the port, across all managers of this user on this machine.
 * @param guard called between attempts, ends the wait by throwing
 * @returns undefined when its folder is not ours to use: then there is only the look at the port
 * @throws PortInUseError when another start keeps it until the deadline
 */
export async function lockPort(
  { name }: Pick<CompleteSpec, 'name'>,
  port: number,
  { deadline, guard }: { deadline: Deadline; guard: () => void },
): Promise<FileLock | undefined> {
  const folder = userFolder();
  if (folder === undefined) return undefined;
  const path = portLockFile(folder, port);
  const tryLock = () => {
    guard();
    try {
      return tryAcquireLock(path);
    } catch (error) {
      log('no lock for port %d: %s', port, errorText(error));
      return 'unusable';
    }
  };
  const lock = await poll(tryLock, { deadline });
  if (lock !== undefined) return lock === 'unusable' ? undefined : lock;
  throw new PortInUseError(`Cannot start ${name}: another process is being started on port ${port}`, {
    port,
    pid: undefined,
  });
}

/**
 * A TCP port of 127.0.0.1 on which nobody listens, and on which no process of this user is being started. It is not reserved:
 * the start takes its lock. Of two that are given the same one at the same time one start ends with PortInUseError.
 */
export async function chooseFreePort(): Promise<number> {
  const folder = userFolder();
  for (;;) {
    // The system hands out its free ports in no order: one on which somebody is starting something is met rarely.
    const port = await findFreePort();
    if (folder === undefined || !isLocked(portLockFile(folder, port))) return port;
  }
}

function portLockFile(folder: string, port: number): string {
  return join(folder, `port-${port}.lock`);
}

/**
 * @param guard called between looks, ends the wait by throwing
 * @throws PortInUseError when somebody listens there, after a short time for a socket that is just going
 * @throws the signal's reason, as soon as it is aborted
 */
export async function refuseBusyPort(
  { name, checkTimeoutMs }: CompleteSpec,
  address: PortAddress,
  { deadline, guard, signal }: { deadline: Deadline; guard: () => void; signal: AbortSignal | undefined },
): Promise<void> {
  const timeoutMs = () => Math.min(checkTimeoutMs, deadline.remainingMs, LOOK_MS);
  const isFree = async () => {
    const isOpen = await isPortOpen(address, { timeoutMs: timeoutMs(), signal });
    guard();
    return !isOpen;
  };
  if (await poll(isFree, { deadline: Deadline.after(LISTENER_GRACE_MS), signal })) return;
  throw portInUseError({ name }, address.port, visibleListener(address.port)?.pid);
}
