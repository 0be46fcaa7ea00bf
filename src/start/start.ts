/**
 * Make sure it runs: contend for the lock; who wins launches, who loses waits for the winner's process to be ready.
 * A process that is to be ended (the journal has a stop, restart or abandon pending) is never reused: its end is waited for,
 * or brought about when whoever was at it has died.
 */

import { basename } from 'node:path';
import { findHealthy, foreignListener, instanceOf, isReady, LAST_LOOK_MS } from '../inspect/checks.js';
import { type Holder, identify, isCarrying, lockCarriers } from '../inspect/holder.js';
import { isOrphaned } from '../inspect/watcher.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { type Journal, journalOf } from '../state/journal.js';
import type { JournalState, Place } from '../state/journal-state.js';
import { isNamedIn, writePidFile } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, stopLimitMs } from '../state/process-spec.js';
import { endHolder } from '../stop/stop.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import {
  errorText,
  isOwnLimit,
  StateFileError,
  type StopTimeoutError,
  stopTimeoutError,
  UnhealthyError,
} from '../support/errors.js';
import { now } from '../support/globals.js';
import type { ProcessInfo } from '../system/process-info.js';
import { isAlive, processTable } from '../system/process-table.js';
import { appendSpawn, ContendAgain, checkWanted, launch, type StartOptions } from './launch.js';
import { lastStatus } from './wait-until-ready.js';

const log = debugLog('start');

/** How much longer than its start time a starter can be there: it ends what it spawned. */
const STARTER_LINGERS_MS = 5_000;

/**
 * What a start() remembers at its call: the end of the journal, which is made when it is missing. A journal that can be
 * neither made nor read is met again by the start that wins the lock.
 * @throws StateFileError for want of something of our own, such as a descriptor: that says nothing of the journal
 */
export function placeOfCall(spec: CompleteSpec): Place {
  const journal = journalOf(spec);
  try {
    journal.create();
    return journal.read().endPlace;
  } catch (error) {
    if (isOwnLimit((error as StateFileError).cause)) throw error;
    log('%s', errorText(error));
    return { id: '', offset: 0 };
  }
}

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
  readonly #journal: Journal;
  #deadline: Deadline;

  constructor(spec: CompleteSpec, options: StartOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#journal = journalOf(spec);
    this.#deadline = Deadline.after(spec.startTimeoutMs);
  }

  /** Undefined when somebody else has the lock. */
  async tryLaunch(): Promise<Instance | undefined> {
    for (;;) {
      this.#options.signal?.throwIfAborted();
      const lock = tryAcquireLock(this.#spec.lockFile);
      if (lock === undefined) return undefined;
      try {
        return await launch(this.#spec, lock, this.#options);
      } catch (error) {
        if (!(error instanceof ContendAgain)) throw error;
      }
      await this.#waitForStopAtWork();
    }
  }

  /** The lock is held by somebody: its process, when that is ready. @throws UnhealthyError when start time is over */
  async join(): Promise<Instance | undefined> {
    const state = this.#checkWanted();
    const holder = identify(this.#spec);
    if (state.isPending) return await this.#finishStop(holder);
    if (holder.kind === 'leftovers') {
      const { signal } = this.#options;
      const found = await findHealthy(this.#spec, holder.candidates, signal);
      signal?.throwIfAborted();
      if (found !== undefined) return this.#reuse(found.process, state);
      // From here on nobody adopts them, and whoever meets them ends them, as this start does when it looks next.
      this.#appendIfUnchanged(state, () => this.#journal.append('abandon'));
      return undefined;
    }
    if (holder.kind === 'process' && (await this.#isReadyToShare(holder.process, state))) {
      return this.#reuse(holder.process, state);
    }
    if (this.#deadline.isOver) throw await unhealthyError(this.#spec);
    return undefined;
  }

  #checkWanted(): JournalState {
    return checkWanted(this.#spec, this.#options);
  }

  /** Under LOCK_EX: nobody hands out what another start abandons. */
  #appendIfUnchanged(before: JournalState, append: () => void): boolean {
    const isDone = this.#journal.exclusively((state) => {
      const isUnchanged = !state.isPending && isSameStart(state, before);
      if (isUnchanged) append();
      return isUnchanged;
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
      const work = await this.#journal.holdShared();
      try {
        if (!this.#checkWanted().isPending) return;
        if ((await endHolder(this.#spec, { signal: this.#options.signal })) !== 'not-running') return;
      } finally {
        work.release();
      }
    }
    if (this.#deadline.isOver) throw this.#unfinishedStop();
  }

  /** It does not count as start time. @returns whether there was one */
  async #waitForStopAtWork(): Promise<boolean> {
    const { name, startTimeoutMs } = this.#spec;
    const began = now();
    const limit = Deadline.after(stopLimitMs(this.#spec));
    const pace = new Pace({ firstMs: 2, maxMs: 25 });
    let hasWaited = false;
    while (await this.#journal.isStopAtWork()) {
      const { isPending } = this.#checkWanted();
      if (isPending && limit.isOver) throw this.#unfinishedStop();
      // No stop is to be waited for: the lock is another program's, or of a process that is suspended.
      if (!isPending && now() - began > startTimeoutMs) {
        const { path } = this.#journal;
        throw new StateFileError(`Cannot start ${name}: another process keeps "${path}" locked`, { path });
      }
      hasWaited = true;
      await pace.wait({ signal: this.#options.signal });
    }
    this.#deadline = this.#deadline.extendedBy(now() - began);
    return hasWaited;
  }

  #unfinishedStop(): StopTimeoutError {
    return stopTimeoutError(
      this.#spec,
      identify(this.#spec).members.map(({ pid }) => pid),
    );
  }

  async #isReadyToShare(process: ProcessInfo, state: JournalState): Promise<boolean> {
    const spec = this.#spec;
    const limit = Deadline.after(Math.max(this.#deadline.remainingMs, LAST_LOOK_MS));
    if (!(await isReady(spec, process, { signal: this.#options.signal, limit }))) return false;
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
    const state = this.#checkWanted();
    if (state.isPending || !isSameStart(state, before)) return undefined;
    if (!isAlive(process) || !isCarrying(process, spec)) return undefined;
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
  if (last === undefined) return lockCarriers(spec).starters.length === 0;
  if (state.isHandedOver) return true;
  // A zombie is dead: its parent may never collect it. A thread that was ended has left its process without the lock.
  const isAtWork = typeof last.startKey === 'string' && isAlive({ pid: last.by, startKey: last.startKey });
  return !isAtWork || !lockCarriers(spec).starters.some(({ pid }) => pid === last.by);
}

async function unhealthyError(spec: CompleteSpec): Promise<UnhealthyError> {
  const status = await lastStatus(spec);
  const { checks, state, pid, address } = status;
  let what = 'it is not ready';
  if (state === 'unknown') what = 'its holder could not be identified; lockHolders() names it';
  else if (checks.port === false) what = `PID ${pid} does not accept connections on ${address}`;
  else if (checks.health === false) what = `PID ${pid} is not healthy`;
  const message = `${spec.name} is already running (lock file held by another process) but ${what}`;
  return new UnhealthyError(message, { status });
}
