/**
 * Keeps two starts off one port. A TCP check alone would take an older listener for the spawned process, and two
 * managers with different locks could both find the port free before either spawned. So a start takes the lock of its
 * port before it checks the port, and keeps it until the process is ready. Last it asks for an owner under an older
 * scheme.
 */

import { join } from 'node:path';
import { askPredecessor } from '../inspect/status.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import type { FileLock } from '../lock/held-lock.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { Deadline, linkSignals, poll, sleep } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, PortInUseError, PredecessorError, spawnError } from '../support/errors.js';
import { userFolder } from '../support/files.js';
import { newAbort } from '../support/globals.js';
import { type ProcessInfo, processTable } from '../system/process-table.js';

const log = debugLog('port');

/** How long a listener may take to go: after a crash the lock can be free an instant before the socket is. */
const LISTENER_GRACE_MS = 300;

/** A listener on this machine answers at once: a port that has not answered for this long counts as free. */
const LOOK_MS = 1_000;

/**
 * Takes the lock of the port. Undefined when the folder of these locks is not ours to use.
 * @throws PortInUseError when another start keeps the lock; what `guard` throws
 */
export async function lockPort(
  { name }: CompleteSpec,
  port: number,
  { deadline, guard, onWait }: { deadline: Deadline; guard: () => void; onWait: (pid: number | undefined) => void },
): Promise<FileLock | undefined> {
  const folder = userFolder();
  if (folder === undefined) return undefined;
  const path = join(folder, `port-${port}.lock`);
  const tryLock = (): FileLock | 'unusable' | undefined => {
    guard();
    try {
      return tryAcquireLock(path);
    } catch (error) {
      log('no lock for port %d: %s', port, errorText(error));
      return 'unusable';
    }
  };
  const findKeeper = () => processTable().carriers(path)[0]?.process.pid;
  let lock = tryLock();
  if (lock === undefined) {
    onWait(findKeeper());
    lock = await poll(tryLock, { deadline });
  }
  if (lock === 'unusable') return undefined;
  if (lock !== undefined) return lock;
  const pid = findKeeper();
  const by = pid === undefined ? '' : ` by PID ${pid}`;
  const message = `Cannot start ${name}: another process is being started on port ${port}${by}`;
  throw new PortInUseError(message, { port, pid });
}

/** @throws PortInUseError when a process listens there for LISTENER_GRACE_MS; PredecessorError; what `guard` throws */
export async function refuseBusyPort(
  spec: CompleteSpec,
  port: number,
  { deadline, guard, signal }: { deadline: Deadline; guard: () => void; signal: AbortSignal | undefined },
): Promise<void> {
  const { name, host, checkTimeoutMs } = spec;
  const isFree = async () => {
    const timeoutMs = Math.min(checkTimeoutMs, deadline.remainingMs, LOOK_MS);
    const isUsed = await processTable().isPortUsed({ host, port }, { timeoutMs, signal });
    guard();
    return !isUsed;
  };
  if (await poll(isFree, { deadline: Deadline.after(LISTENER_GRACE_MS), signal })) return;
  // If the listener is an older owner, PredecessorError says more.
  await refusePredecessor(spec, { signal, guard });
  throw portInUseError(name, port, processTable().listeners(port)[0]);
}

/** How often a start that waits for predecessor() checks whether it is still wanted: a stop() waits for the start. */
const GUARD_MS = 100;

/**
 * The last check before there is a process.
 * @throws PredecessorError; SpawnError when predecessor() gives no answer; what `guard` throws; the signal's reason
 */
export async function refusePredecessor(
  spec: CompleteSpec,
  { signal, guard }: { signal: AbortSignal | undefined; guard: () => void },
): Promise<void> {
  if (spec.predecessor === undefined) return;
  const over = newAbort();
  const linked = linkSignals(signal, over.signal);
  const watch = async (): Promise<never> => {
    for (;;) {
      guard();
      await sleep(GUARD_MS, over.signal);
    }
  };
  const asked = Promise.race([askPredecessor(spec, linked.signal), watch()]).finally(() => {
    over.abort();
    linked.clear();
  });
  const pid = await asked.catch((error: unknown) => {
    // After a stop() or an abort, `guard` throws that reason.
    guard();
    throw spawnError(spec, `it cannot be told whether an older owner lives: ${errorText(error)}`, error);
  });
  if (pid === undefined) return;
  const message = `Cannot start ${spec.name}: PID ${pid} owns it under an older scheme; stop it with the tool that started it, or by "kill ${pid}"`;
  throw new PredecessorError(message, { pid });
}

export function portInUseError(name: string, port: number, listener: ProcessInfo | undefined): PortInUseError {
  const who = listener === undefined ? 'another process' : `another process (PID ${listener.pid})`;
  return new PortInUseError(`Cannot start ${name}: ${who} listens on port ${port}`, { port, pid: listener?.pid });
}
