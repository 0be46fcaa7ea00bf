/**
 * Keep it running. What is wanted (the journal) and what is (the lock, the checks) are observed apart; what to do about it
 * stands in policy.ts.
 *
 * Our own child's exit wakes the look at once; a process that somebody else spawned is seen to end by its lock, which is
 * looked at every POLL_MS. A supervisor never undoes a stop that came after it: its starts end on it.
 */
import { status } from '../inspect/status.js';
import { start, startIfFree } from '../start/start.js';
import { placeOfCall } from '../start/still-wanted.js';
import { journalOf } from '../state/journal.js';
import type { Place } from '../state/journal-state.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { endSick } from '../stop/stop.js';
import { Alarm } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { CrashLoopError, errorText, StoppedError, UnhealthyError } from '../support/errors.js';
import { CrashHistory, crashLoopError, leaveNothing } from './crash-history.js';
import { HealthChecks } from './health-checks.js';
import { Observer } from './observe.js';
import {
  type Action,
  isActive,
  type Sight,
  type Supervisor,
  type SupervisorEvents,
  type SupervisorOptions,
  type SupervisorState,
  TABLE,
} from './policy.js';

/** A look costs some 20 µs; a second supervisor must have taken over within a second. */
const POLL_MS = 50;

const log = debugLog('supervisor');

export class ProcessSupervisor implements Supervisor {
  readonly done: Promise<void>;
  readonly #spec: CompleteSpec;
  readonly #options: SupervisorOptions;
  readonly #events: SupervisorEvents;
  /** What the first start remembers: it undoes the stops that were there when this supervision began. */
  readonly #begin: Place | undefined;
  readonly #observer: Observer;
  readonly #checks: HealthChecks;
  readonly #crashes: CrashHistory;
  readonly #alarm = new Alarm();
  readonly #starting = new AbortController();
  readonly #onAbort = () => this.end();
  #state: SupervisorState = 'restarting';
  #restarts = 0;
  #isEnding = false;
  #dueAt = 0;
  /** Is the restart that is due one after a crash? */
  #isAfterCrash = true;
  #lastError: unknown;

  constructor(spec: CompleteSpec, options: SupervisorOptions, events: SupervisorEvents) {
    this.#spec = spec;
    this.#options = options;
    this.#events = events;
    const isAborted = options.signal?.aborted === true;
    this.#begin = options.respectStop || isAborted ? undefined : placeOfCall(spec);
    this.#observer = new Observer(spec, this.#begin ?? { id: '', offset: 0 });
    if (!isAborted) journalOf(spec).note('supervise');
    this.#checks = new HealthChecks(
      (signal) => status(spec, { signal }),
      options,
      (report) => events.unhealthy(report),
    );
    this.#crashes = new CrashHistory(options);
    options.signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (options.signal?.aborted) this.end();
    this.done = this.#run().finally(() => options.signal?.removeEventListener('abort', this.#onAbort));
    this.done.catch(() => undefined);
  }

  get state(): SupervisorState {
    return this.#state;
  }

  get restarts(): number {
    return this.#restarts;
  }

  async stop(): Promise<void> {
    this.end();
    await this.done.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Without waiting for it. */
  end(): void {
    this.#isEnding = true;
    this.#checks.reset();
    this.#alarm.ring();
  }

  /** For the manager's `stop()`, when the process is down: a start that still waits for a check of it is given up. */
  async abort(): Promise<void> {
    this.#starting.abort();
    await this.stop();
  }

  /** A child of this process has ended. Should its leftovers keep the lock, the check sees them. */
  onExit(): void {
    this.#checks.hurry();
    this.#alarm.ring();
  }

  async #run(): Promise<void> {
    try {
      if (!this.#isEnding && this.#begin !== undefined) await this.#startFirst(this.#begin);
      while (!this.#isEnding && isActive(this.#state)) {
        const action = TABLE[this.#state][this.#look()];
        if (!this.#isEnding) await this.#act(action);
        if (!this.#isEnding) await this.#pause(action);
      }
    } catch (error) {
      if (error instanceof CrashLoopError) await leaveNothing(this.#spec);
      journalOf(this.#spec).note('give-up', { error: errorText(error) });
      this.#state = 'gave-up';
      if (error instanceof CrashLoopError) this.#events.gaveUp(error);
      throw error;
    }
    journalOf(this.#spec).note('unsupervise');
    this.#state = 'stopped';
  }

  #look(): Sight {
    const sight = this.#observer.look();
    return sight === 'held' && this.#checks.isSick ? 'sick' : sight;
  }

  async #act(action: Action): Promise<void> {
    switch (action) {
      case 'watch':
        if (this.#state !== 'watching') this.#become('watching');
        return this.#checks.runWhenDue();
      case 'replace':
        return await this.#replace();
      case 'restart':
        return await this.#planAndStart({ isCrash: true });
      case 'take part in restart':
        return await this.#planAndStart({ isCrash: false });
      case 'start when due':
        return await this.#startWhenDue();
      case 'stand by':
        return this.#become('standby');
      case 'wait':
    }
  }

  async #replace(): Promise<void> {
    const { pid } = this.#checks;
    this.#become('restarting');
    this.#dueAt = 0;
    try {
      // Somebody else is ending it, or it ended by itself: what is seen next tells.
      if (!(await endSick(this.#spec, pid))) return this.#become('watching');
    } catch (error) {
      this.#lastError = error;
      log('%s cannot be ended: %s', this.#spec.name, errorText(error));
      return this.#become('watching');
    }
    // Whoever ends supervision meanwhile is to find it up.
    if (this.#isEnding) await this.#startIfWanted();
    else await this.#planAndStart({ isCrash: true });
  }

  async #planAndStart({ isCrash }: { isCrash: boolean }): Promise<void> {
    this.#plan({ isCrash });
    await this.#startWhenDue();
  }

  #plan({ isCrash }: { isCrash: boolean }): void {
    this.#isAfterCrash = isCrash;
    this.#become('restarting');
    if (isCrash) this.#crashes.add();
    if (this.#crashes.isLoop) {
      const { withinMs } = this.#options.giveUpAfter;
      throw crashLoopError(this.#spec, { restarts: this.#crashes.count - 1, withinMs, lastError: this.#lastError });
    }
    const delayMs = isCrash ? this.#crashes.delayMs() : 0;
    this.#dueAt = performance.now() + delayMs;
    if (isCrash) journalOf(this.#spec).note('crash', { delayMs: Math.round(delayMs) });
    this.#events.restarting({ attempt: Math.max(1, this.#crashes.count), delayMs });
  }

  async #startWhenDue(): Promise<void> {
    if (performance.now() >= this.#dueAt) await this.#startIfWanted();
  }

  /** A whole start(): it also waits for a process that somebody else is starting, or ends one that is to be ended. */
  async #startFirst(place: Place): Promise<void> {
    await this.#attempt(async () => {
      await start(this.#spec, { events: this.#events, place, signal: this.#starting.signal });
    });
  }

  async #startIfWanted(): Promise<void> {
    await this.#attempt(async () => {
      const place = this.#observer.placeIfWanted();
      if (place === undefined) return this.#become('standby');
      const { signal } = this.#starting;
      const instance = await startIfFree(this.#spec, { events: this.#events, place, signal });
      if (instance !== undefined) this.#restarts += 1;
      else if (this.#isAfterCrash) this.#crashes.takeBack();
    });
  }

  async #attempt(startIt: () => Promise<void>): Promise<void> {
    try {
      await startIt();
      this.#lastError = undefined;
      if (this.#state !== 'standby') this.#become('watching');
    } catch (error) {
      if (error instanceof StoppedError) this.#become('standby');
      // Somebody else runs it: the checks will tell what becomes of it.
      else if (error instanceof UnhealthyError) this.#become('watching');
      else {
        this.#lastError = error;
        log('%s could not be started: %s', this.#spec.name, errorText(error));
        if (!this.#isEnding) this.#plan({ isCrash: true });
      }
    }
  }

  #become(state: SupervisorState): void {
    if (state !== this.#state) log('%s: %s → %s', this.#spec.name, this.#state, state);
    this.#checks.reset();
    this.#state = state;
  }

  async #pause(action: Action): Promise<void> {
    const isPlanned = this.#state === 'restarting' && action !== 'wait';
    const untilDueMs = isPlanned ? Math.max(1, this.#dueAt - performance.now()) : POLL_MS;
    await this.#alarm.wait(Math.min(POLL_MS, untilDueMs));
  }
}
