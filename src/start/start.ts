/**
 * Make sure it runs: contend for the lock; who wins launches, who loses waits for the winner's process to be ready.
 * A process that is to be ended (the journal has a stop, restart or abandon pending) is never reused: its end is waited for,
 * or brought about when whoever was at it has died.
 */

import { basename } from 'node:path';
import { findHealthy, foreignListener, instanceOf, isReady, LAST_LOOK_MS } from '../inspect/checks.js';
import { type Holder, identify, LOCK_FD, starters } from '../inspect/holder.js';
import { isOrphaned } from '../inspect/watcher.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { journalOf } from '../state/journal.js';
import type { JournalState } from '../state/journal-state.js';
import { isNamedIn, writePidFile } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, stopLimitMs } from '../state/process-spec.js';
import { endHolder, holders } from '../stop/stop.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { StateFileError, type StopTimeoutError, stopTimeoutError, UnhealthyError } from '../support/errors.js';
import { now } from '../support/globals.js';
import type { Status } from '../support/status-report.js';
import { isAlive, type ProcessInfo, processTable } from '../system/process-table.js';
import { appendSpawn, launch, type StartOptions } from './launch.js';
import { ContendAgain, checkWanted } from './still-wanted.js';
import { lastStatus } from './wait-until-ready.js';

const log = debugLog('start');

/** How much longer than its start time a starter can be there: it ends what it spawned. */
const STARTER_LINGERS_MS = 5_000;

export async function start(spec: CompleteSpec, options: StartOptions): Promise<Instance> {
  let { place } = options;
  for (const { id, offset } of await journalOf(spec).earlierLines()) {
    // A stop() that this process called before, and whose line was written again, does not end this start.
    if (offset >= place.offset) place = { id, offset: offset + 1 };
  }
  const contender = new Contender(spec, { ...options, place });
  const pace = new Pace({ maxMs: 25 });
  for (;;) {
    const instance = (await contender.tryLaunch()) ?? (await contender.join());
    if (instance !== undefined) return instance;
    await pace.wait({ signal: options.signal });
  }
}

/** For a supervisor: undefined when somebody else has the lock. */
export async function startIfFree(spec: CompleteSpec, options: StartOptions): Promise<Instance | undefined> {
  return await new Contender(spec, options).tryLaunch();
}

class Contender {
  readonly #spec: CompleteSpec;
  readonly #options: StartOptions;
  #deadline: Deadline;

  constructor(spec: CompleteSpec, options: StartOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#deadline = Deadline.after(spec.startTimeoutMs);
  }

  /** Undefined when somebody else has the lock. */
  async tryLaunch(): Promise<Instance | undefined> {
    const journal = journalOf(this.#spec);
    let limit = Deadline.after(this.#spec.startTimeoutMs);
    for (;;) {
      this.#options.signal?.throwIfAborted();
      const lock = tryAcquireLock(this.#spec.lockFile);
      if (lock === undefined) return undefined;
      try {
        return await launch(this.#spec, lock, this.#options);
      } catch (error) {
        if (!(error instanceof ContendAgain)) throw error;
      }
      if (await this.#waitForStopAtWork()) continue;
      // No stop is to be waited for. A lock that stays is another program's, or of a process that is suspended.
      if (!(await journal.isStopAtWork())) limit = Deadline.after(this.#spec.startTimeoutMs);
      else if (limit.isOver) {
        const message = `Cannot start ${this.#spec.name}: another process keeps "${journal.path}" locked`;
        throw new StateFileError(message, { path: journal.path });
      }
    }
  }

  /** The lock is held by somebody: its process, when that is ready. @throws UnhealthyError when start time is over */
  async join(): Promise<Instance | undefined> {
    const spec = this.#spec;
    const state = checkWanted(spec, this.#options);
    const holder = identify(spec);
    if (state.isPending) return await this.#finishStop(holder);
    if (holder.kind === 'process') {
      if (await this.#isReadyToShare(holder.process, state)) return this.#reuse(holder.process, state);
    } else if (holder.kind === 'leftovers') {
      return await this.#adopt(holder.candidates, state);
    }
    if (this.#deadline.isOver) throw unhealthyError(spec, await lastStatus(spec));
    return undefined;
  }

  /** The process is dead, and these have its lock: one that is healthy goes on as the process, otherwise all are ended. */
  async #adopt(candidates: readonly ProcessInfo[], state: JournalState): Promise<Instance | undefined> {
    const spec = this.#spec;
    const { signal } = this.#options;
    const found = await findHealthy(spec, candidates, { signal });
    signal?.throwIfAborted();
    if (found !== undefined) return this.#reuse(found.process, state);
    // From here on nobody adopts them, and whoever meets them ends them, as this start does when it looks next.
    this.#appendIfUnchanged(state, () => journalOf(spec).append('abandon'));
    return undefined;
  }

  /** Under LOCK_EX: nobody hands out what another start abandons. */
  #appendIfUnchanged(before: JournalState, append: () => void): boolean {
    const isDone = journalOf(this.#spec).exclusively((state) => {
      if (state.isPending || !isSameStart(state, before)) return false;
      append();
      return true;
    });
    return isDone === true;
  }

  /**
   * What is there is to be ended: wait for whoever is at it, or do it when nobody is. Never while only a starter has the
   * lock: that one meets the line itself.
   */
  async #finishStop(holder: Holder): Promise<undefined> {
    if (await this.#waitForStopAtWork()) return;
    if (holder.kind !== 'starting') {
      const work = await journalOf(this.#spec).holdShared();
      try {
        if (!checkWanted(this.#spec, this.#options).isPending) return;
        if ((await endHolder(this.#spec, { signal: this.#options.signal })) !== 'not-running') return;
      } finally {
        work.release();
      }
    }
    if (this.#deadline.isOver) throw this.#unfinishedStop();
  }

  /** It does not count as start time. @returns whether there was one */
  async #waitForStopAtWork(): Promise<boolean> {
    const began = now();
    const limit = Deadline.after(stopLimitMs(this.#spec));
    const pace = new Pace({ firstMs: 2, maxMs: 25 });
    let hasWaited = false;
    while (checkWanted(this.#spec, this.#options).isPending && (await journalOf(this.#spec).isStopAtWork())) {
      hasWaited = true;
      if (limit.isOver) throw this.#unfinishedStop();
      await pace.wait({ signal: this.#options.signal });
    }
    this.#deadline = this.#deadline.extendedBy(now() - began);
    return hasWaited;
  }

  #unfinishedStop(): StopTimeoutError {
    return stopTimeoutError(this.#spec, holders(identify(this.#spec)));
  }

  async #isReadyToShare(process: ProcessInfo, state: JournalState): Promise<boolean> {
    const spec = this.#spec;
    const limit = Deadline.after(Math.max(this.#deadline.remainingMs, LAST_LOOK_MS));
    if (!(await isReady(spec, process, { reused: true, signal: this.#options.signal, limit }))) return false;
    // Whoever is still starting it can be about to give it up.
    if (!isStarterThrough(spec, state)) return false;
    // Not asked of a shared one, whose users have been counted: it is a walk through all processes.
    if (spec.lifetime !== 'shared' && isOrphaned(process)) return false;
    // Older than any start can take: its listener was looked at, or has been there all the time.
    if (processTable().age(process) > spec.startTimeoutMs + STARTER_LINGERS_MS) return true;
    return foreignListener(spec, process) === undefined;
  }

  /** The last look: the same start, nothing pending, and it is still there. A stop that had signalled it has left one of them. */
  #reuse(process: ProcessInfo, before: JournalState): Instance | undefined {
    const spec = this.#spec;
    const state = checkWanted(spec, this.#options);
    if (state.isPending || !isSameStart(state, before)) return undefined;
    if (!isAlive(process) || !processTable().carries(process.pid, LOCK_FD, spec.lockFile)) return undefined;
    const isNamed = state.spawned?.pid === process.pid;
    if (!isNamed && !this.#appendIfUnchanged(state, () => appendSpawn(spec, process))) return undefined;
    if (!isNamedIn(spec.pidFile, process)) writePidFile(spec.pidFile, process, basename(spec.command));
    log('%s runs already: PID %d', spec.name, process.pid);
    return instanceOf(spec, process, { reused: true });
  }
}

/** Nothing was started or adopted in between. */
function isSameStart(state: JournalState, before: JournalState): boolean {
  return (['start', 'spawn'] as const).every((event) => state.last(event)?.place === before.last(event)?.place);
}

/** Has the last start handed its process over, or died? Without a journal that tells: does nobody have the lock as a starter has? */
function isStarterThrough(spec: CompleteSpec, state: JournalState): boolean {
  const last = state.last('start');
  if (last === undefined) return starters(spec).length === 0;
  if (state.isHandedOver) return true;
  // A zombie is dead: its parent may never collect it. A thread that was ended has left its process without the lock.
  const isAtWork = typeof last.startKey === 'string' && isAlive({ pid: last.by, startKey: last.startKey });
  return !isAtWork || !starters(spec).some(({ pid }) => pid === last.by);
}

function unhealthyError({ name }: CompleteSpec, report: Status): UnhealthyError {
  const { checks, state, pid, address } = report;
  let what = 'it is not ready';
  if (state === 'unknown') what = 'its holder could not be identified; lockHolders() names it';
  else if (checks.port === false) what = `PID ${pid} does not accept connections on ${address}`;
  else if (checks.health === false) what = `PID ${pid} is not healthy`;
  const message = `${name} is already running (lock file held by another process) but ${what}`;
  return new UnhealthyError(message, { status: report });
}
