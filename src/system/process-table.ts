/**
 * Who is PID n, and who holds this file: from /proc where there is one, else from ps(1), lsof(1) and ps-list.
 *
 * Lookups are synchronous, so that a proof and the signal that rests on it fit into one turn. That is why the portable
 * branch calls ps(1) itself for a proof: ps-list is asynchronous, and lists neither group nor session.
 */

import { debugLog } from '../support/debug.js';
import { errorText, systemError } from '../support/errors.js';
import { clearTimeout, setTimeout } from '../support/globals.js';
import { loadPackage } from '../support/load.js';
import { forgetSpawned, isLivingChild, isUncollected, ownChildren, spawnedUnder } from './own-children.js';
import type { ProcessInfo } from './process-table-linux.js';
import * as linux from './process-table-linux.js';
import * as portable from './process-table-portable.js';

export type { Carrier, ProcessInfo } from './process-table-linux.js';

const log = debugLog('table');

type Identity = Pick<ProcessInfo, 'pid' | 'startKey'>;

/**
 * The functions of one of the two tables; the Linux one describes them. The table is chosen at each call, which costs
 * nothing: a test can have the portable branch on Linux.
 */
export function processTable(): typeof linux {
  return process.platform === 'linux' ? linux : portable;
}

/** Does it cost next to nothing to look up a process? Without /proc it takes the run of a program. */
export function hasProc(): boolean {
  return processTable() === linux;
}

export function isAlive(info: Identity): boolean {
  return childByItsEvents(info) ?? lookAgain(info) !== undefined;
}

/** Undefined with /proc, where a lookup costs nothing and tells a zombie from the living. */
function childByItsEvents(info: Identity): boolean | undefined {
  return hasProc() ? undefined : isLivingChild(info);
}

/**
 * The process that this thread spawned last under this lock file, if it is alive. It is looked up unless its end was
 * reported: that comes in a later turn, and for the group of a zombie macOS says EPERM, as for one that this user may
 * not signal.
 */
export function livingSpawned(lockFile: string): ProcessInfo | undefined {
  const info = spawnedUnder(lockFile);
  if (info === undefined) return undefined;
  const living = childByItsEvents(info) === false ? undefined : lookAgain(info);
  if (living === undefined) forgetSpawned(lockFile);
  return living;
}

/** Waits until the end of each dead child of this thread is reported: every other process sees a zombie until then. */
export async function collectChildren(): Promise<void> {
  // Without /proc a child counts as alive until its end is reported.
  if (!hasProc()) return;
  for (const { process: child, ended } of ownChildren()) {
    if (!isUncollected(child) || !processTable().lookUp(child.pid as number)?.isZombie) continue;
    child.ref(); // Perhaps nothing else keeps this process alive.
    await ended;
  }
}

/** The same process as it is now: same PID, same start, not a zombie. Undefined when it is not alive any more. */
export function lookAgain({ pid, startKey }: Identity): ProcessInfo | undefined {
  return ifLiving(processTable().lookUp(pid), startKey);
}

/** As lookAgain(), in a later turn: it does not block the event loop, and a signal must not rest on it. */
export async function lookAgainAside(info: Identity): Promise<ProcessInfo | undefined> {
  if (childByItsEvents(info) === false) return undefined;
  return ifLiving(await processTable().lookUpAside(info.pid), info.startKey);
}

/** As lookAgainAside(), to be called often: without /proc it does not tell whether a child is suspended. */
export async function lookOften(info: ProcessInfo): Promise<ProcessInfo | undefined> {
  return childByItsEvents(info) ? info : await lookAgainAside(info);
}

function ifLiving(found: ProcessInfo | undefined, startKey: string): ProcessInfo | undefined {
  return found !== undefined && !found.isZombie && found.startKey === startKey ? found : undefined;
}

/**
 * Calls `act` when the process is seen to be gone, for a wait that must not outlast it. A short wait costs no look.
 * @returns what ends the watch
 */
export function onceGone(info: Identity, act: () => void): () => void {
  let timer: NodeJS.Timeout;
  const lookIn = (ms: number) => {
    timer = setTimeout(() => {
      try {
        if (isAlive(info)) lookIn(Math.min(2 * ms, 500));
        else act();
      } catch (error) {
        // No descriptor is left (EMFILE), for example: the wait has its own limit.
        log('PID %d cannot be looked up: %s', info.pid, errorText(error));
      }
    }, ms);
  };
  lookIn(50);
  return () => clearTimeout(timer);
}

let own: ProcessInfo | undefined;

/** The start key of this very process; looked up once. */
export async function ownStartKey(): Promise<string | undefined> {
  own ??= await processTable().lookUpAside(process.pid);
  return own?.startKey;
}

/** A child of this process that was not collected yet. @throws when the process table does not show it */
export function lookUpChild(pid: number): ProcessInfo {
  const found = processTable().lookUp(pid);
  if (found !== undefined) return found;
  throw systemError(`the process table does not show PID ${pid}; is /proc mounted with hidepid?`);
}

export function isSessionLeader({ pid, sessionId }: ProcessInfo): boolean {
  return pid === sessionId;
}

/** Percent of one core and of memory. Undefined when the process is gone, or when ps-list or ps(1) is missing. */
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
