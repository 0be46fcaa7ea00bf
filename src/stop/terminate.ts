/**
 * Ends processes: sends stopSignal, waits, sends SIGKILL. `find` proves whom to signal, and the signals go out in the
 * same turn. PID and start time are proof enough for the second signal: a dying server may have closed the descriptor
 * that proved it. If a target leads a group, the whole group is signalled. When the leader is gone, that is done only
 * while a process of its group and session is seen: as long as one lives, no other group can have the number.
 */
import { isWatcher } from '../inspect/watcher.js';
import { type CompleteSpec, KILL_WAIT_MS } from '../state/process-spec.js';
import { Alarm, Deadline, Pace, poll } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorCode, stopTimeoutError } from '../support/errors.js';
import { endOfChild } from '../system/own-children.js';
import { isAlive, type ProcessInfo, processTable } from '../system/process-table.js';

const log = debugLog('terminate');

/** How long to wait for the end of a killed process at least, whatever the limit says. */
const LEAST_KILL_WAIT_MS = 100;

/** 'killed': SIGKILL was needed. */
export type Outcome = 'not-running' | 'stopped' | 'killed';

export interface Limits {
  limit?: Deadline;
  signal?: AbortSignal | undefined;
  /** Called again and again while the wait lasts; it ends the wait by throwing. */
  guard?: () => void;
}

/**
 * @param find called before `stopSignal`, and again before SIGKILL. The second result counts only if it still has a
 * process of the first: then new ones are heirs of that process, and not another process that got the lock
 * @returns `survivors` are processes that this one may not signal, or that hang in the kernel
 */
export async function terminate(
  find: () => readonly ProcessInfo[],
  { stopSignal, graceMs, ...limits }: Limits & { stopSignal: NodeJS.Signals; graceMs: number },
): Promise<{ outcome: Outcome; survivors: ProcessInfo[] }> {
  const { limit = Deadline.after(Number.POSITIVE_INFINITY) } = limits;
  const targets = new Targets(find());
  const isAsked = graceMs > 0;
  if (isAsked) {
    let asked = targets.send(stopSignal);
    if (asked === 'denied' && targets.addHeirs(find())) asked = targets.send(stopSignal);
    if (asked === 'gone') return { outcome: 'not-running', survivors: [] };
    if (asked === 'denied') return { outcome: 'stopped', survivors: targets.survivors() };
    // A suspended process handles another signal than SIGKILL only when it is continued.
    if (stopSignal !== 'SIGKILL') targets.send('SIGCONT');
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
  /** Rings when the end of a target that is our own child is reported. */
  readonly #bell = new Alarm();

  constructor(found: readonly ProcessInfo[]) {
    for (const target of found) {
      this.#known.set(target.pid, target);
      void endOfChild(target)?.then(() => this.#bell.ring());
    }
  }

  /** False when there are none, or what was found is another process. */
  addHeirs(found: readonly ProcessInfo[]): boolean {
    if (!found.some(({ pid, startKey }) => this.#known.get(pid)?.startKey === startKey)) return false;
    const before = this.#known.size;
    for (const target of found) this.#known.set(target.pid, target);
    return this.#known.size > before;
  }

  /** 'denied': the system refused every signal (EPERM), so waiting is in vain. */
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
      // The watcher of a tied process exits when its owner closes the pipe, which a suspended or busy owner does late.
      // Alone in its group, the watcher guards nobody: it is killed in the turn in which it is seen.
      if (withoutWatcher(left).length === 0) for (const { pid } of left) sendTo(pid, 'SIGKILL');
      return left.length === 0;
    };
    return await poll(ask, {
      deadline,
      signal,
      pace: new Pace({ firstMs: 1, maxMs: 25, growth: 1.1, bell: this.#bell }),
    });
  }

  survivors(): ProcessInfo[] {
    return withoutWatcher(this.#left());
  }

  /** The living targets. When all are gone, a walk through all processes finds what is left of their groups. */
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
    const members = isReused ? [] : table.leftOf({ pid, startKey }, isMember);
    // From now on the group's number may be a stranger's, so it is forgotten.
    if (members.length === 0) this.#known.delete(pid);
    return members;
  }
}

function leadsGroup({ pid, groupId }: ProcessInfo): boolean {
  return pid === groupId;
}

/** The members without watchers, and without the helpers that watchers wait for. */
function withoutWatcher(members: readonly ProcessInfo[]): ProcessInfo[] {
  const watchers = members.filter(isWatcher).map(({ pid }) => pid);
  return members.filter(({ pid, parentPid }) => !watchers.includes(pid) && !watchers.includes(parentPid));
}

function sendTo(pidOrGroup: number, signal: NodeJS.Signals): 'sent' | 'gone' | 'denied' {
  // To kill(2), 0 means our own group and -1 everybody: group 1, which PID 1 leads in a container, cannot be signalled.
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

/** Ends the processes that `find` returns. @throws StopTimeoutError when one of them survives */
export async function end(
  spec: CompleteSpec,
  find: (spec: CompleteSpec) => readonly ProcessInfo[],
  limits: Limits,
): Promise<Outcome> {
  const { stopSignal, stopTimeoutMs: graceMs } = spec;
  const { outcome, survivors } = await terminate(() => find(spec), { stopSignal, graceMs, ...limits });
  if (survivors.length > 0) throw stopTimeoutError(spec, survivors);
  return outcome;
}
