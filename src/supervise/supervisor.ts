/**
 * Keeps the process running. What is wanted (the journal) and what is actual (lock, checks) are observed apart. The
 * exit of a child of this process is seen at once. The end of a process that another one spawned is seen by its lock,
 * within POLL_MS; flock(2) is asked only when the process is not seen to carry the lock. A supervisor never undoes a
 * stop that came after it: such a stop ends its starts.
 */
import { isSeenHeld } from '../inspect/holder.js';
import { checkStatus } from '../inspect/status.js';
import { isLocked } from '../lock/questions.js';
import type { Announce } from '../start/launch.js';
import { placeOfCall, start, startIfFree } from '../start/start.js';
import { journalOf } from '../state/journal.js';
import type { JournalState, Place } from '../state/journal-state.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { endSick } from '../stop/stop.js';
import { Alarm, onAbort } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { CrashLoopError, errorText, StoppedError, UnhealthyError } from '../support/errors.js';
import { newAbort, now } from '../support/globals.js';
import type { Status } from '../support/status-report.js';
import { isLivingChild } from '../system/own-children.js';
import { processTable } from '../system/process-table.js';
import {
  countedCrashes,
  crashLoopError,
  HealthChecks,
  notesOf,
  reasonToGiveUp,
  restartDelayMs,
  type Supervisor,
  type SupervisorOptions,
} from './policy.js';

/** Observing costs up to a millisecond of an idle process; a second supervisor must have taken over within a second. */
const POLL_MS = 125;

/** How long after the lock is free the parent of the process may take to write its `exit` line, if the parent lives. */
const EXIT_TOLD_MS = 500;
const log = debugLog('supervisor');

export class ProcessSupervisor implements Supervisor {
  state: Supervisor['state'] = 'restarting';
  restarts = 0;
  readonly done: Promise<void>;
  readonly #spec: CompleteSpec;
  readonly #options: SupervisorOptions;
  readonly #announce: Announce;
  readonly #checks: HealthChecks;
  readonly #alarm = new Alarm();
  readonly #starting = newAbort();
  readonly #notes: ReturnType<typeof notesOf>;
  #isEnding = false;
  /** Stops before this place do not count any more, although no start has undone them yet. */
  #undoneUntil: Place = { id: '', offset: 0 };
  #crashes: number[] = [];
  #dueAt = 0;
  /** Does the restart that is due follow a crash? */
  #isAfterCrash = false;
  #lastError: unknown;
  /** When the process was last started or seen to run. Until then undefined: an earlier exit does not count here. */
  #seenAt: number | undefined;

  constructor(spec: CompleteSpec, options: SupervisorOptions, announce: Announce) {
    this.#spec = { ...spec, whenDifferent: 'reuse' }; // A supervisor ignores differences.
    this.#notes = notesOf(spec, options.restartOn);
    this.#options = options;
    this.#announce = announce;
    const tell = (it: Status) => announce(it.state === 'running' ? 'healthy' : 'unhealthy', it);
    this.#checks = new HealthChecks((signal) => checkStatus(spec, signal), options, tell);
    const forget = onAbort(options.signal, () => this.end());
    if (options.signal?.aborted) this.end();
    this.done = this.#run().finally(forget);
    this.done.catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.end();
    await this.done.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  end(): void {
    this.#isEnding = true;
    this.#checks.reset();
    this.#alarm.ring();
  }

  /** For the manager's `stop()`, when the process is down: a start that still waits for a check of it is aborted. */
  async abort(): Promise<void> {
    this.#starting.abort();
    await this.stop();
  }

  /** Called when a child of this process has ended. If its leftovers keep the lock, the check finds them. */
  onExit(): void {
    this.#checks.hurry();
    this.#alarm.ring();
  }

  async #run(): Promise<void> {
    try {
      if (!this.#isEnding) await this.#begin();
      while (!this.#isEnding) {
        await this.#act();
        const untilDueMs = this.state === 'restarting' ? Math.max(1, this.#dueAt - now()) : POLL_MS;
        if (!this.#isEnding) await this.#alarm.wait(Math.min(POLL_MS, untilDueMs));
      }
    } catch (error) {
      this.#notes.note('give-up', {}, error);
      this.#become('gave-up');
      if (error instanceof CrashLoopError) this.#announce('gaveUp', error);
      throw error;
    }
    this.#notes.note('unsupervise');
    this.#become('stopped');
  }

  async #begin(): Promise<void> {
    const { respectStop } = this.#options;
    if (!respectStop) this.#undoneUntil = placeOfCall(this.#spec);
    await this.#notes.identify();
    this.#notes.note('supervise');
    if (!respectStop) await this.#start({ isWhole: true });
  }

  #look() {
    try {
      const journal = journalOf(this.#spec);
      let state = journal.read();
      let isHeld = isSeenHeld(this.#spec, state);
      // On standby, and before a restart is due, flock(2) is not asked: the journal shows a start() from elsewhere.
      if (!isHeld && this.#isWanted(state) && (this.state !== 'restarting' || now() >= this.#dueAt)) {
        isHeld = isLocked(this.#spec.lockFile);
        // The journal is read again after the lock: a stop that came in between can be why the lock is free.
        state = journal.read();
      }
      const { spawned, isOfLastStart, isRestarting, hasExited } = state;
      const isTimed = isOfLastStart && this.#options.giveUpAfter.diedWithinMs > 0;
      const livedMs = spawned && isTimed ? processTable().age(spawned) : undefined;
      const isOurChild = spawned !== undefined && isLivingChild(spawned) === true;
      return { isHeld, isWanted: this.#isWanted(state), isRestarting, hasExited, isOurChild, livedMs };
    } catch (error) {
      log('%s cannot be observed: %s', this.#spec.name, errorText(error));
      return undefined;
    }
  }

  #isWanted(state: JournalState): boolean {
    if (this.#options.restartOn === 'failure' && state.isDone && this.#seenAt !== undefined) return false;
    return state.isWanted || !state.isStoppedSince(this.#undoneUntil);
  }

  async #act(): Promise<void> {
    const sight = this.#look();
    if (sight?.isWanted === false) return this.#become('standby');
    if (sight?.isHeld) return await this.#watch();
    if (this.state !== 'restarting') {
      if (sight === undefined) return;
      const isJustGone = now() - (this.#seenAt ?? Number.NEGATIVE_INFINITY) < EXIT_TOLD_MS;
      // The kernel frees the lock before it reports the end of a process.
      if ((this.#options.restartOn === 'failure' || sight.isOurChild) && !sight.hasExited && isJustGone) return;
      // A restart() that is at work, or has died between its halves, is no crash.
      this.#plan({ isCrash: !sight.isRestarting });
    }
    // If nothing can be observed, the start is made all the same: it fails, and counts as a crash.
    await this.#startWhenDue();
  }

  async #watch(): Promise<void> {
    this.#seenAt = now();
    if (this.state !== 'watching') this.#become('watching');
    if (this.#checks.isSick) await this.#replace();
    else void this.#checks.runWhenDue();
  }

  async #replace(): Promise<void> {
    const { pid } = this.#checks;
    this.#become('restarting');
    const isEnded = await endSick(this.#spec, pid).catch((error: unknown) => {
      this.#lastError = error;
      log('%s cannot be ended: %s', this.#spec.name, errorText(error));
      return false;
    });
    // Another process is ending it, or it ended by itself: the next observation tells which.
    if (!isEnded) return this.#become('watching');
    // When supervision is ended meanwhile, the process must be left running.
    this.#isAfterCrash = true;
    if (this.#isEnding) return await this.#start();
    if (this.#look()?.isWanted === false) return this.#become('standby'); // A stop() came meanwhile: that is no crash.
    this.#plan({ isCrash: true });
    await this.#startWhenDue();
  }

  #plan({ isCrash }: { isCrash: boolean }): void {
    this.#isAfterCrash = isCrash;
    this.#become('restarting');
    const { backoff, giveUpAfter } = this.#options;
    if (isCrash) this.#crashes.push(now());
    this.#crashes = countedCrashes(this.#crashes, this.#dueAt, giveUpAfter);
    const count = this.#crashes.length;
    const livedMs = isCrash && giveUpAfter.diedWithinMs > 0 ? this.#look()?.livedMs : undefined;
    const why = reasonToGiveUp({ count, livedMs }, giveUpAfter);
    if (why !== undefined) throw crashLoopError(this.#spec, why, { restarts: count - 1, lastError: this.#lastError });
    const delayMs = isCrash ? restartDelayMs(count, backoff) : 0;
    this.#dueAt = now() + delayMs;
    if (isCrash) this.#notes.note('crash', { delayMs: Math.round(delayMs) }, this.#lastError);
    this.#announce('restarting', { attempt: Math.max(1, count), delayMs });
  }

  async #startWhenDue(): Promise<void> {
    if (now() >= this.#dueAt) await this.#start();
  }

  /** @param isWhole also wait for a process that another start is at, or end one that is pending */
  async #start({ isWhole = false } = {}): Promise<void> {
    try {
      const state = journalOf(this.#spec).read();
      if (!this.#isWanted(state)) return this.#become('standby');
      this.#seenAt = now();
      const isRestart = !isWhole && this.#isAfterCrash;
      const announce: Announce = (name, ...values) => {
        if (name === 'ready' && isRestart) this.restarts += 1;
        this.#announce(name, ...values);
      };
      const options = { announce, isRestart, place: state.endPlace, signal: this.#starting.signal };
      const instance = await (isWhole ? start : startIfFree)(this.#spec, options);
      this.#seenAt = now();
      // Another process restarted it first, so the crash does not count here.
      if (instance === undefined && this.#isAfterCrash) this.#crashes.pop();
      this.#lastError = undefined;
      this.#become('watching');
    } catch (error) {
      if (error instanceof StoppedError || this.#look()?.isWanted === false) return this.#become('standby');
      // Another start made it run: the checks find out whether it becomes healthy.
      if (error instanceof UnhealthyError) return this.#become('watching');
      this.#lastError = error;
      log('%s could not be started: %s', this.#spec.name, errorText(error));
      if (!this.#isEnding) this.#plan({ isCrash: true });
    }
  }

  #become(state: Supervisor['state']): void {
    if (state !== this.state) log('%s: %s → %s', this.#spec.name, this.state, state);
    this.#checks.reset();
    this.state = state;
  }
}
