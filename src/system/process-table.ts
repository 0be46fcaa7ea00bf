/**
 * Who is PID n, and who holds this file: /proc where there is one, else ps(1), lsof(1) and ps-list.
 *
 * All looks are synchronous, so that a proof and the signal that rests on it fit into one turn. That is why the portable
 * branch calls ps(1) itself for a proof: ps-list is asynchronous, and lists neither group nor session.
 */

import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { loadPackage } from '../support/load.js';
import type { Carrier, CarrierOptions, LostLock, ProcessIdentity, ProcessInfo } from './process-info.js';
import * as linux from './process-table-linux.js';
import * as portable from './process-table-portable.js';

export type { ProcessIdentity, ProcessInfo } from './process-info.js';

const log = debugLog('table');

export interface ProcessTable {
  /** Undefined when there is no such process. A zombie is reported as one. */
  lookUp(pid: number): ProcessInfo | undefined;
  /** Tells one boot from another, and one PID namespace from another; the same for all processes in which a PID means the same. */
  boot(): string;
  /** Every visible process. */
  list(): ProcessInfo[];
  /** Unix seconds, with fraction, as every process of this machine works it out. */
  startTime(process: ProcessInfo): number;
  /** Milliseconds since it started, untouched by changes of the wall clock. */
  age(process: ProcessInfo): number;
  /** Base names of its executable and of the first two words of its command line. */
  commandNames(pid: number): string[];
  /** The words of its command line, as it was started or has set it since. */
  commandLine(pid: number): string[];
  /** Everybody who holds the exclusive lock, or a shared one, on the file that is at `path` now. */
  carriers(path: string, options?: CarrierOptions): Carrier[];
  /** Does it hold the exclusive lock on the file at `path` now, through this descriptor? */
  carries(pid: number, fd: number, path: string): boolean;
  /** Does it have this descriptor open? True where the system does not tell cheaply. */
  hasDescriptor(pid: number, fd: number): boolean;
  /** Does the descriptor carry an exclusive lock of ours on another file than the one at `path`? */
  lostLock(pid: number, fd: number, path: string): LostLock | undefined;
  /** Is one of its standard streams appended to this regular file? */
  logsTo(pid: number, path: string): boolean;
  /** Who is seen to listen on this TCP port; nobody where the system does not tell. When `likely` does, nobody else is asked. */
  listeners(port: number, likely?: number): ProcessInfo[];
}

/** Decided at each call, which costs nothing: a test can have the portable branch on Linux. */
export function processTable(): ProcessTable {
  return process.platform === 'linux' ? linux : portable;
}

/** True while the very process is alive: same PID, same start, not a zombie. */
export function isAlive(process: ProcessIdentity): boolean {
  return lookAgain(process) !== undefined;
}

/** The very process as it is now; undefined when it is not alive any more. */
export function lookAgain({ pid, startKey }: ProcessIdentity): ProcessInfo | undefined {
  const found = processTable().lookUp(pid);
  return found !== undefined && !found.isZombie && found.startKey === startKey ? found : undefined;
}

export function isSessionLeader({ pid, sessionId }: ProcessInfo): boolean {
  return pid === sessionId;
}

/**
 * Percent of one core and of memory, as the system's process list gives them. Tens of milliseconds.
 * Undefined when the process is gone, or there is no ps-list or no ps(1) to list it.
 */
export async function usage(pid: number): Promise<{ cpu: number; memory: number } | undefined> {
  try {
    const { default: psList } = loadPackage('ps-list') as typeof import('ps-list');
    const found = (await psList()).find((entry) => entry.pid === pid);
    return found === undefined ? undefined : { cpu: found.cpu ?? 0, memory: found.memory ?? 0 };
  } catch (error) {
    log('cannot list processes: %s', errorText(error));
    return undefined;
  }
}
