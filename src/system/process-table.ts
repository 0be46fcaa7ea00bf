/**
 * Who is PID n, and who holds this file: /proc where there is one, else ps(1), lsof(1) and ps-list.
 *
 * All looks are synchronous, so that a proof and the signal that rests on it fit into one turn. That is why the portable
 * branch calls ps(1) itself for a proof: ps-list is asynchronous, and lists neither group nor session.
 */

import { debugLog } from '../support/debug.js';
import { errorText, systemError } from '../support/errors.js';
import { loadPackage } from '../support/load.js';
import type { ProcessInfo } from './process-table-linux.js';
import * as linux from './process-table-linux.js';
import * as portable from './process-table-portable.js';

export type { Carrier, ProcessInfo } from './process-table-linux.js';

const log = debugLog('table');

type Identity = Pick<ProcessInfo, 'pid' | 'startKey'>;

/**
 * The functions of one of the two, described in that of Linux. Chosen at each call, which costs nothing: a test can have the
 * portable branch on Linux.
 */
export function processTable(): typeof linux {
  return process.platform === 'linux' ? linux : portable;
}

export function isAlive(process: Identity): boolean {
  return lookAgain(process) !== undefined;
}

/** The very process as it is now: same PID, same start, not a zombie. Undefined when it is not alive any more. */
export function lookAgain({ pid, startKey }: Identity): ProcessInfo | undefined {
  const found = processTable().lookUp(pid);
  return found !== undefined && !found.isZombie && found.startKey === startKey ? found : undefined;
}

/** A child of this process that was not collected yet. @throws when it is not to be seen */
export function lookUpChild(pid: number): ProcessInfo {
  const found = processTable().lookUp(pid);
  if (found !== undefined) return found;
  throw systemError(`the process table does not show PID ${pid}; is /proc mounted with hidepid?`);
}

export function isSessionLeader({ pid, sessionId }: ProcessInfo): boolean {
  return pid === sessionId;
}

/** Percent of one core and of memory. Undefined when the process is gone, or there is no ps-list or no ps(1) to list it. */
export async function usage(pid: number): Promise<{ cpu: number; memory: number } | undefined> {
  try {
    const { default: psList } = loadPackage('ps-list') as typeof import('ps-list');
    const found = (await psList()).find((entry) => entry.pid === pid);
    return found && { cpu: found.cpu ?? 0, memory: found.memory ?? 0 };
  } catch (error) {
    log('cannot list processes: %s', errorText(error));
    return undefined;
  }
}
