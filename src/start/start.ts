/**
 * Make sure it runs: contend for the lock; who wins launches, who loses waits for the winner's process to be ready.
 * A process that somebody is stopping is never reused: its end is waited for, or brought about when that stop has died.
 */

import { basename } from 'node:path';
import { instanceOf, isReady, LAST_LOOK_MS } from '../inspect/checks.js';
import { type Holder, identify, LOCK_FD, starters } from '../inspect/holder.js';
import { foreignListener } from '../inspect/listener.js';
import { findHealthy, status } from '../inspect/status.js';
import { isOrphaned } from '../inspect/watcher.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { isStopAtWork, joinMark } from '../state/down-mark.js';
import { isRecordHeld, writeRecord } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, stopLimitMs } from '../state/process-spec.js';
import { endHolder, endLeftovers, holders } from '../stop/stop.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { type StopTimeoutError, stopTimeoutError, UnhealthyError } from '../support/errors.js';
import type { Status } from '../support/status-report.js';
import type { ProcessInfo } from '../system/process-info.js';
import { isAlive, processTable } from '../system/process-table.js';
import { type LaunchEvents, launch } from './launch.js';
import { Wanted, type WantedOptions } from './still-wanted.js';

export interface StartOptions extends WantedOptions {
  events: LaunchEvents;
}

const log = debugLog('start');

/** How much longer than its start time a starter can be there: it ends what it spawned. */
const STARTER_LINGERS_MS = 5_000;

export async function start(
  spec: CompleteSpec,
  { signal, known, respectMarks, events }: StartOptions,
): Promise<Instance> {
  signal?.throwIfAborted();
  const contender = new Contender(spec, new Wanted(spec, { signal, known, respectMarks }), signal);
  const pace = new Pace({ maxMs: 25 });
  for (;;) {
    const isMarked = contender.wanted.isMarked();
    const lock = tryAcquireLock(spec.lockFile);
    if (lock !== undefined) {
      const instance = await launch(spec, lock, { wanted: contender.wanted, events, signal });
      if (instance !== 'again') return instance;
      await contender.waitForStopAtWork();
    } else if (isMarked) {
      await contender.finishStop();
    } else {
      const instance = await contender.join();
      if (instance !== undefined) return instance;
    }
    await pace.wait({ signal });
  }
}

class Contender {
  readonly wanted: Wanted;
  readonly #spec: CompleteSpec;
  readonly #signal: AbortSignal | undefined;
  #deadline: Deadline;
  /** For the stops of others; it runs from the first one that is met. */
  #stopDeadline: Deadline | undefined;

  constructor(spec: CompleteSpec, wanted: Wanted, signal: AbortSignal | undefined) {
    this.#spec = spec;
    this.#signal = signal;
    this.wanted = wanted;
    this.#deadline = Deadline.after(spec.startTimeoutMs);
  }

  /** The lock is held by somebody: its process, when that is ready. @throws UnhealthyError when start time is over */
  async join(): Promise<Instance | undefined> {
    const spec = this.#spec;
    const holder = identify(spec);
    if (holder.kind === 'process') {
      if (await this.#isReadyToShare(holder)) return this.#reuse(holder.process, holder.isRecorded);
    } else if (holder.kind === 'leftovers') {
      const found = await findHealthy(spec, holder.candidates, { signal: this.#signal });
      this.#signal?.throwIfAborted();
      if (found !== undefined) return this.#reuse(found.process, false);
      await endLeftovers(spec, { signal: this.#signal, limit: Deadline.after(stopLimitMs(spec)) });
      return undefined;
    }
    if (this.#deadline.isOver) {
      const checkTimeoutMs = Math.min(spec.checkTimeoutMs, LAST_LOOK_MS);
      throw unhealthyError(spec, await status({ ...spec, checkTimeoutMs }));
    }
    return undefined;
  }

  /** A stop that began before us has marked the process: wait for it, or finish it when nobody is at it any more. */
  async finishStop(): Promise<void> {
    if (await this.waitForStopAtWork()) return;
    const mark = await joinMark(this.wanted.markFile);
    if (mark === undefined) return;
    try {
      const limit = Deadline.after(stopLimitMs(this.#spec));
      const { outcome } = await endHolder(this.#spec, { signal: this.#signal, limit });
      if (outcome === 'nothing' && this.#deadline.isOver) throw this.#unfinishedStop();
    } finally {
      mark.release();
    }
  }

  /** It does not count as start time. @returns whether there was one */
  async waitForStopAtWork(): Promise<boolean> {
    const began = performance.now();
    const pace = new Pace({ firstMs: 2, maxMs: 25 });
    let waited = false;
    while (this.wanted.isMarked() && (await isStopAtWork(this.wanted.markFile))) {
      waited = true;
      this.#stopDeadline ??= Deadline.after(stopLimitMs(this.#spec));
      if (this.#stopDeadline.isOver) throw this.#unfinishedStop();
      await pace.wait({ signal: this.#signal });
    }
    this.#deadline = this.#deadline.extendedBy(performance.now() - began);
    return waited;
  }

  #unfinishedStop(): StopTimeoutError {
    return stopTimeoutError(this.#spec, holders(identify(this.#spec)));
  }

  async #isReadyToShare({ process, isRecorded }: Extract<Holder, { kind: 'process' }>): Promise<boolean> {
    const spec = this.#spec;
    const limit = Deadline.after(Math.max(this.#deadline.remainingMs, LAST_LOOK_MS));
    if (!(await isReady(spec, process, { reused: true, signal: this.#signal, limit }))) return false;
    // Whoever is still starting it can be about to give it up.
    if (isRecorded ? isRecordHeld(spec.pidFile) : starters(spec).length > 0) return false;
    // Not asked of a shared one, whose users have been counted: it is a walk through all processes.
    if (spec.lifetime !== 'shared' && isOrphaned(process)) return false;
    // Older than any start can take: its listener was looked at, or has been there all the time.
    if (processTable().age(process) > spec.startTimeoutMs + STARTER_LINGERS_MS) return true;
    return foreignListener(spec, process) === undefined;
  }

  /** In this order: no mark, then still there. A stop that had signalled it before would have left either. */
  #reuse(process: ProcessInfo, isRecorded: boolean): Instance | undefined {
    const spec = this.#spec;
    if (this.wanted.isMarked()) return undefined;
    const table = processTable();
    if (!isAlive(process) || !table.carries(process.pid, LOCK_FD, spec.lockFile)) return undefined;
    if (!isRecorded) {
      const record = { pid: process.pid, startTime: table.startTime(process) };
      writeRecord(spec.pidFile, record, basename(spec.command)).release();
    }
    log('%s runs already: PID %d', spec.name, process.pid);
    return instanceOf(spec, process, { reused: true });
  }
}

function unhealthyError({ name }: CompleteSpec, report: Status): UnhealthyError {
  const { checks, state, pid } = report;
  const what =
    state === 'unknown'
      ? 'its holder could not be identified; lockHolders() names it'
      : checks.port === false
        ? `PID ${pid} does not accept connections on ${report.address}`
        : checks.health === false
          ? `PID ${pid} is not healthy`
          : 'it is not ready';
  return new UnhealthyError(`${name} is already running (lock file held by another process) but ${what}`, {
    status: report,
  });
}
