/**
 * End processes: ask, wait, force. `find` is the proof, and the signals go out in the same turn. For a second signal PID and
 * start time suffice: a dying server may have closed what proved it. A whole group is signalled when a member leads it; when
 * that leader is gone, only while a process of its group and session is seen: until then the number is no other group's.
 */
import { isWatcher } from '../inspect/watcher.js';
import { KILL_WAIT_MS } from '../state/process-spec.js';
import { Deadline, Pace, poll } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorCode } from '../support/errors.js';
import { isAlive, type ProcessInfo, processTable } from '../system/process-table.js';

const log = debugLog('terminate');

/** Whoever was killed is waited for this long whatever the limit says. */
const LEAST_KILL_WAIT_MS = 100;

export interface Limits {
  limit?: Deadline;
  signal?: AbortSignal | undefined;
  /** Called again and again; ends the wait by throwing. */
  guard?: () => void;
}

/**
 * @param find called for `stopSignal`, and again for SIGKILL: then it counts only while one of the first look is still among
 * them, for those who have come since are its heirs and not another process that got the lock
 * @returns as survivors those whom this process may not signal, or who hang in the kernel
 */
export async function terminate(
  find: () => readonly ProcessInfo[],
  { stopSignal, graceMs, ...limits }: Limits & { stopSignal: NodeJS.Signals; graceMs: number },
): Promise<{ outcome: 'not-running' | 'stopped' | 'killed'; survivors: ProcessInfo[] }> {
  const { limit = Deadline.after(Number.POSITIVE_INFINITY) } = limits;
  const targets = new Targets(find());
  const isAsked = graceMs > 0;
  if (isAsked) {
    const asked = targets.send(stopSignal);
    if (asked === 'gone') return { outcome: 'not-running', survivors: [] };
    if (asked === 'denied') return { outcome: 'stopped', survivors: targets.survivors() };
    // A suspended process gets its signals when it goes on.
    targets.send('SIGCONT');
    const grace = Deadline.exactly(Math.min(graceMs, limit.remainingMs));
    if (await targets.waitUntilGone(grace, limits)) return { outcome: 'stopped', survivors: [] };
    targets.addHeirs(find());
  }
  const forced = targets.send('SIGKILL');
  if (forced === 'gone') return { outcome: isAsked ? 'stopped' : 'not-running', survivors: [] };
  const killWait = Deadline.exactly(Math.min(KILL_WAIT_MS, Math.max(limit.remainingMs, LEAST_KILL_WAIT_MS)));
  if (forced === 'sent') await targets.waitUntilGone(killWait, limits);
  return { outcome: 'killed', survivors: targets.survivors() };
}

class Targets {
  readonly #known = new Map<number, ProcessInfo>();

  constructor(found: readonly ProcessInfo[]) {
    for (const target of found) this.#known.set(target.pid, target);
  }

  addHeirs(found: readonly ProcessInfo[]): void {
    if (!found.some(({ pid, startKey }) => this.#known.get(pid)?.startKey === startKey)) return;
    for (const target of found) this.#known.set(target.pid, target);
  }

  /** 'denied': the system refused every signal (EPERM), waiting is in vain. */
  send(signal: NodeJS.Signals): 'sent' | 'gone' | 'denied' {
    const targets = [...this.#known.values()];
    const isGroupThere = (leader: ProcessInfo) => isAlive(leader) || withoutWatcher(this.#membersOf(leader)).length > 0;
    const groups = targets.filter((target) => leadsGroup(target) && isGroupThere(target)).map(({ pid }) => pid);
    const singles = targets.filter((target) => !groups.includes(target.groupId) && isAlive(target));
    const numbers = [...groups.map((groupId) => -groupId), ...singles.map(({ pid }) => pid)];
    const results = numbers.map((number) => sendTo(number, signal));
    if (results.includes('sent')) return 'sent';
    return results.includes('denied') ? 'denied' : 'gone';
  }

  async waitUntilGone(deadline: Deadline, { signal, guard }: Limits): Promise<boolean> {
    const ask = () => {
      guard?.();
      const left = this.#left();
      // The watcher of a tied process goes when its owner closes the pipe, which a stopped or busy owner does late. Alone in
      // its group it guards nobody: it is killed in the turn in which it is seen.
      if (withoutWatcher(left).length === 0) for (const { pid } of left) sendTo(pid, 'SIGKILL');
      return left.length === 0;
    };
    return await poll(ask, { deadline, signal, pace: new Pace({ firstMs: 1, maxMs: 25, growth: 1.1 }) });
  }

  survivors(): ProcessInfo[] {
    return withoutWatcher(this.#left());
  }

  /** The walk through all processes is made only when the ones that we know are gone. */
  #left(): ProcessInfo[] {
    const known = [...this.#known.values()];
    const living = known.filter(isAlive);
    return living.length > 0 ? living : known.filter(leadsGroup).flatMap((leader) => this.#membersOf(leader));
  }

  /** The living members of a group whose leader is gone. */
  #membersOf({ pid, startKey, groupId, sessionId }: ProcessInfo): ProcessInfo[] {
    const table = processTable();
    const atNumber = table.lookUp(pid);
    const isReused = atNumber !== undefined && atNumber.startKey !== startKey;
    const isMember = (it: ProcessInfo) => it.groupId === groupId && it.sessionId === sessionId && !it.isZombie;
    const members = isReused ? [] : table.list().filter(isMember);
    // From now on the number can be anybody's.
    if (members.length === 0) this.#known.delete(pid);
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

function sendTo(pidOrGroup: number, signal: NodeJS.Signals): 'sent' | 'gone' | 'denied' {
  // To kill(2), 0 is our own group and -1 is everybody: of process 1, which leads group 1 in a container, the group is not signalled.
  if (pidOrGroup === 0 || pidOrGroup === -1) return 'denied';
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
