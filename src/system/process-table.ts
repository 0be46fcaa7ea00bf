/**
 * Who is PID n, and who holds this file: /proc where there is one, else ps(1), lsof(1) and ps-list.
 *
 * All looks are synchronous, so that a proof and the signal that rests on it fit into one turn. That is why the portable
 * branch calls ps(1) itself for a proof: ps-list is asynchronous, and lists neither group nor session.
 */

import { once } from 'node:events';
import { debugLog } from '../support/debug.js';
import { errorText, systemError } from '../support/errors.js';
import { loadPackage } from '../support/load.js';
import { forgetSpawned, isLivingChild, isUncollected, ownChildren, spawnedUnder } from './own-children.js';
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

/** Does a look at a process cost next to nothing? Where there is no /proc it takes the run of a program. */
export function hasProc(): boolean {
  return processTable() === linux;
}

export function isAlive(info: Identity): boolean {
  return childByItsEvents(info) ?? lookAgain(info) !== undefined;
}

/** Without /proc alone: there a zombie is told from the living, and a look costs nothing. */
function childByItsEvents(info: Identity): boolean | undefined {
  return hasProc() ? undefined : isLivingChild(info);
}

/**
 * What this thread has spawned last under this lock file, if it is alive. Looked up unless its end was told: that comes in a
 * later turn, and of the group of a zombie macOS says EPERM, as of one that this user may not signal.
 */
export function livingSpawned(lockFile: string): ProcessInfo | undefined {
  const info = spawnedUnder(lockFile);
  if (info === undefined) return undefined;
  const living = childByItsEvents(info) === false ? undefined : lookAgain(info);
  if (living === undefined) forgetSpawned(lockFile);
  return living;
}

/** Waits until the end of each dead child of this thread was told: to everybody else it is a zombie until then. */
export async function collectChildren(): Promise<void> {
  // Without /proc a child is alive until its end was told.
  if (!hasProc()) return;
  for (const child of ownChildren()) {
    if (!isUncollected(child) || !processTable().lookUp(child.pid as number)?.isZombie) continue;
    child.ref(); // Nothing else may keep this process alive.
    await once(child, 'exit');
  }
}

/** The very process as it is now: same PID, same start, not a zombie. Undefined when it is not alive any more. */
export function lookAgain({ pid, startKey }: Identity): ProcessInfo | undefined {
  return ifLiving(processTable().lookUp(pid), startKey);
}

/** As lookAgain(), in some later turn: no proof, and nothing that blocks the event loop. */
export async function lookAgainAside(info: Identity): Promise<ProcessInfo | undefined> {
  if (childByItsEvents(info) === false) return undefined;
  return ifLiving(await processTable().lookUpAside(info.pid), info.startKey);
}

/** As lookAgainAside(), to be called often: of a child without /proc not whether it is suspended. */
export async function lookOften(info: ProcessInfo): Promise<ProcessInfo | undefined> {
  return childByItsEvents(info) ? info : await lookAgainAside(info);
}

function ifLiving(found: ProcessInfo | undefined, startKey: string): ProcessInfo | undefined {
  return found !== undefined && !found.isZombie && found.startKey === startKey ? found : undefined;
}

let own: ProcessInfo | undefined;

/** The start key of this very process; looked up once. */
export async function ownStartKey(): Promise<string | undefined> {
  own ??= await processTable().lookUpAside(process.pid);
  return own?.startKey;
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
