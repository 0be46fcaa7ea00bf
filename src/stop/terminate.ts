/**
 * End processes: ask, wait until they are gone, force.
 *
 * `find` is the proof: it looks who may be signalled, and the signals go out in the same turn. Once a process was
 * signalled with full proof, its PID and start time suffice for the next signal: a dying server may have closed what
 * proved it. A whole group is signalled when a member leads it; when that leader is gone, only while a process of its
 * group and session is seen, for as long as one is there the number cannot be given to another group.
 */
import { isWatcher } from '../inspect/watcher.js';
import { KILL_WAIT_MS } from '../state/process-spec.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorCode } from '../support/errors.js';
import type { ProcessInfo } from '../system/process-info.js';
import { isAlive, processTable } from '../system/process-table.js';

const log = debugLog('terminate');

/** Whoever was killed is waited for this long whatever the limit says. */
const LEAST_KILL_WAIT_MS = 100;

export interface TerminateOptions {
  stopSignal: NodeJS.Signals;
  /** Milliseconds between `stopSignal` and SIGKILL. */
  graceMs: number;
  /** Cuts both waits short. */
  limit?: Deadline;
  signal?: AbortSignal | undefined;
  /** Called while waiting; ends the wait by throwing. */
  guard?: (() => void) | undefined;
}

export interface Termination {
  /** 'killed': SIGKILL was needed. 'nothing': there was nobody to end. */
  readonly outcome: 'nothing' | 'stopped' | 'killed';
  /** PIDs that are still there: this process may not signal them, or they hang in the kernel. */
  readonly survivors: readonly number[];
}

/**
 * @param find who may be signalled. Looked at once for `stopSignal`, and again for SIGKILL: then only while one of the first
 * look is still among them, for those who have come since are its heirs and not another process that got the lock
 * @throws what `guard` throws; the signal's reason, as soon as it is aborted
 */
export async function terminate(
  find: () => readonly ProcessInfo[],
  { stopSignal, graceMs, limit = Deadline.after(Number.POSITIVE_INFINITY), signal, guard }: TerminateOptions,
): Promise<Termination> {
  const targets = new Targets(find());
  const isAsked = graceMs > 0;
  if (isAsked) {
    if (!targets.send(stopSignal)) return { outcome: 'nothing', survivors: [] };
    // A suspended process gets its signals when it goes on.
    targets.send('SIGCONT');
    const grace = Deadline.after(Math.min(graceMs, limit.remainingMs));
    if (await targets.areGone(grace, { signal, guard })) return { outcome: 'stopped', survivors: [] };
    if (targets.areDenied) return { outcome: 'stopped', survivors: targets.survivors() };
    targets.addHeirs(find());
  }
  if (!targets.send('SIGKILL')) return { outcome: isAsked ? 'stopped' : 'nothing', survivors: [] };
  const killWait = Deadline.after(Math.min(KILL_WAIT_MS, Math.max(limit.remainingMs, LEAST_KILL_WAIT_MS)));
  const areGone = await targets.areGone(killWait, { signal, guard });
  return { outcome: 'killed', survivors: areGone ? [] : targets.survivors() };
}

class Targets {
  readonly #known: Map<number, ProcessInfo>;
  /** Groups that were seen without a member: from then on their number can be anybody's. */
  readonly #goneGroups = new Set<number>();
  #deniedAll = false;

  constructor(found: readonly ProcessInfo[]) {
    this.#known = new Map(found.map((target) => [target.pid, target]));
  }

  /** The system refused every signal (EPERM): waiting is in vain. */
  get areDenied(): boolean {
    return this.#deniedAll;
  }

  addHeirs(found: readonly ProcessInfo[]): void {
    if (!found.some(({ pid, startKey }) => this.#known.get(pid)?.startKey === startKey)) return;
    for (const target of found) this.#known.set(target.pid, target);
  }

  /** False when nobody was there. */
  send(signal: NodeJS.Signals): boolean {
    const targets = [...this.#known.values()];
    const groups = targets.filter((target) => leadsGroup(target) && this.#isGroupThere(target));
    const signalledGroups = new Set(groups.map(({ pid }) => pid));
    const singles = targets.filter((target) => !signalledGroups.has(target.groupId) && isAlive(target));
    const numbers = [...Array.from(signalledGroups, (groupId) => -groupId), ...singles.map(({ pid }) => pid)];
    const results = numbers.map((number) => sendTo(number, signal));
    this.#deniedAll = results.length > 0 && results.every((result) => result === 'denied');
    return results.includes('sent') || this.#deniedAll;
  }

  async areGone(deadline: Deadline, { signal, guard }: Pick<TerminateOptions, 'signal' | 'guard'>): Promise<boolean> {
    const pace = new Pace({ firstMs: 1, maxMs: 25, growth: 1.25 });
    for (;;) {
      if (!this.#isAnybodyLeft()) return true;
      if (deadline.isOver || this.#deniedAll) return false;
      await pace.wait({ deadline, signal });
      guard?.();
    }
  }

  survivors(): number[] {
    const living = this.#living();
    // The walk through all processes only when the ones that we know are gone.
    return living.length > 0 ? living : withoutWatcher(this.#groupMembers()).map(({ pid }) => pid);
  }

  /**
   * The watcher of a tied process goes when its owner closes the pipe, which a stopped or busy owner does late. Alone in
   * its group it guards nobody: it is seen and killed in one turn.
   */
  #isAnybodyLeft(): boolean {
    if (this.#living().length > 0) return true;
    const members = this.#groupMembers();
    if (withoutWatcher(members).length === 0) for (const { pid } of members) sendTo(pid, 'SIGKILL');
    return members.length > 0;
  }

  #living(): number[] {
    return [...this.#known.values()].filter(isAlive).map(({ pid }) => pid);
  }

  #groupMembers(): ProcessInfo[] {
    return [...this.#known.values()].filter(leadsGroup).flatMap((leader) => this.#membersOf(leader));
  }

  #isGroupThere(leader: ProcessInfo): boolean {
    return isAlive(leader) || withoutWatcher(this.#membersOf(leader)).length > 0;
  }

  #membersOf(leader: ProcessInfo): ProcessInfo[] {
    if (this.#goneGroups.has(leader.pid)) return [];
    const atNumber = processTable().lookUp(leader.pid);
    const isReused = atNumber !== undefined && atNumber.startKey !== leader.startKey;
    const members = isReused ? [] : groupMembers(leader);
    if (members.length === 0) this.#goneGroups.add(leader.pid);
    return members;
  }
}

function leadsGroup({ pid, groupId }: ProcessInfo): boolean {
  return pid === groupId;
}

/** Without the watcher, and without the command that waits for it. */
function withoutWatcher(members: readonly ProcessInfo[]): ProcessInfo[] {
  const watchers = members.filter(isWatcher).map(({ pid }) => pid);
  return members.filter(({ pid, parentPid }) => !watchers.includes(pid) && !watchers.includes(parentPid));
}

function groupMembers({ groupId, sessionId }: ProcessInfo): ProcessInfo[] {
  return processTable()
    .list()
    .filter((process) => process.groupId === groupId && process.sessionId === sessionId && !process.isZombie);
}

function sendTo(pidOrGroup: number, signal: NodeJS.Signals): 'sent' | 'gone' | 'denied' {
  // To kill(2), 0 is our own group and -1 is everybody: process 1, which leads group 1 in a container, is never signalled.
  if (Math.abs(pidOrGroup) <= 1) return 'denied';
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
