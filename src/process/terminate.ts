/**
 * End processes: ask, wait until they are gone, force.
 *
 * `find` is the proof: it looks who may be signalled, and the signals go out in the same turn. Once a process was
 * signalled with full proof, its PID and start time suffice for the next signal: a dying server may have closed what
 * proved it. A whole group is signalled when a member leads it; when that leader is gone, only while a process of its
 * group and session is seen, for as long as one is there the number cannot be given to another group.
 */
import { Deadline, Pace } from '../shared/deadline.js';
import { debugLog } from '../shared/debug.js';
import { errorCode } from '../shared/errors.js';
import { isAlive, type ProcessInfo, processTable } from './process-table.js';
import { isWatcher } from './tether.js';

const log = debugLog('terminate');

/** How long after SIGKILL a process may take to go: the kernel needs milliseconds, unless it hangs in a device. */
export const KILL_WAIT_MS = 5_000;

export interface TerminateOptions {
  stopSignal: NodeJS.Signals;
  /** Milliseconds between `stopSignal` and SIGKILL. */
  graceMs: number;
  signal?: AbortSignal | undefined;
}

export interface Termination {
  /** 'killed': SIGKILL was needed. 'nothing': there was nobody to end. */
  readonly outcome: 'nothing' | 'stopped' | 'killed';
  /** PIDs that are still there: this process may not signal them, or they hang in the kernel. */
  readonly survivors: readonly number[];
}

/** @throws the signal's reason, as soon as it is aborted */
export async function terminate(
  find: () => readonly ProcessInfo[],
  { stopSignal, graceMs, signal }: TerminateOptions,
): Promise<Termination> {
  const targets = new Targets(find);
  if (graceMs > 0) {
    if (!targets.send(stopSignal)) return { outcome: 'nothing', survivors: [] };
    // A suspended process gets its signals when it goes on.
    targets.send('SIGCONT');
    if (await targets.areGone(Deadline.after(graceMs), signal)) return { outcome: 'stopped', survivors: [] };
    if (targets.areDenied) return { outcome: 'stopped', survivors: targets.survivors() };
  }
  if (!targets.send('SIGKILL')) return { outcome: graceMs > 0 ? 'stopped' : 'nothing', survivors: [] };
  const areGone = await targets.areGone(Deadline.after(KILL_WAIT_MS), signal);
  return { outcome: 'killed', survivors: areGone ? [] : targets.survivors() };
}

class Targets {
  readonly #find: () => readonly ProcessInfo[];
  readonly #known = new Map<number, ProcessInfo>();
  #deniedAll = false;

  constructor(find: () => readonly ProcessInfo[]) {
    this.#find = find;
  }

  /** The system refused every signal (EPERM): waiting is in vain. */
  get areDenied(): boolean {
    return this.#deniedAll;
  }

  /** Proof and signal in one synchronous turn. False when nobody was there. */
  send(signal: NodeJS.Signals): boolean {
    for (const target of this.#find()) this.#known.set(target.pid, target);
    const groups = [...this.#known.values()].filter(leadsGroup).filter((leader) => isGroupThere(leader));
    const signalledGroups = new Set(groups.map(({ pid }) => pid));
    const singles = [...this.#known.values()].filter(
      (target) => !signalledGroups.has(target.groupId) && isAlive(target),
    );
    const numbers = [...Array.from(signalledGroups, (groupId) => -groupId), ...singles.map(({ pid }) => pid)];
    const results = numbers.map((number) => sendTo(number, signal));
    this.#deniedAll = results.length > 0 && results.every((result) => result === 'denied');
    return results.includes('sent') || this.#deniedAll;
  }

  async areGone(deadline: Deadline, signal: AbortSignal | undefined): Promise<boolean> {
    const pace = new Pace({ firstMs: 2, maxMs: 25 });
    for (;;) {
      if (this.survivors().length === 0 && !this.#endWatchers()) return true;
      if (deadline.isOver || this.#deniedAll) return false;
      await pace.wait({ deadline, signal });
    }
  }

  survivors(): number[] {
    const targets = [...this.#known.values()];
    const living = targets.filter(isAlive).map(({ pid }) => pid);
    // The walk through all processes only when the ones that we know are gone.
    return living.length > 0 ? living : this.#groupMembers().flatMap(({ pid, isWatching }) => (isWatching ? [] : pid));
  }

  /**
   * The watcher of a tied process goes when its owner closes the pipe, which a stopped or busy owner does late. Alone in
   * its group it guards nobody: it is seen and killed in one turn. @returns whether there was one
   */
  #endWatchers(): boolean {
    const watchers = this.#groupMembers();
    for (const { pid } of watchers) sendTo(pid, 'SIGKILL');
    return watchers.length > 0;
  }

  #groupMembers(): { pid: number; isWatching: boolean }[] {
    const leaders = [...this.#known.values()].filter(leadsGroup);
    const members = leaders.flatMap(groupMembers);
    const watchers = members.filter(isWatcher).map(({ pid }) => pid);
    return members.map(({ pid, parentPid }) => ({
      pid,
      isWatching: watchers.some((it) => it === pid || it === parentPid),
    }));
  }
}

function leadsGroup({ pid, groupId }: ProcessInfo): boolean {
  return pid === groupId;
}

function isGroupThere(leader: ProcessInfo): boolean {
  return isAlive(leader) || groupMembers(leader).some((member) => !isWatcher(member));
}

function groupMembers({ groupId, sessionId }: ProcessInfo): ProcessInfo[] {
  return processTable()
    .list()
    .filter((process) => process.groupId === groupId && process.sessionId === sessionId && !process.isZombie);
}

function sendTo(pidOrGroup: number, signal: NodeJS.Signals): 'sent' | 'gone' | 'denied' {
  try {
    process.kill(pidOrGroup, signal);
    log('%s to %s %d', signal, pidOrGroup < 0 ? 'group' : 'PID', Math.abs(pidOrGroup));
    return 'sent';
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return 'gone';
    if (errorCode(error) !== 'EPERM') throw error;
    log('%s to %d was refused: EPERM', signal, pidOrGroup);
    return 'denied';
  }
}
