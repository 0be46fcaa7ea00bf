/**
 * Keep it running. What is wanted (NAME.down) and what is (the lock, the checks) are looked at apart; what to do about it
 * stands in supervision-table.ts.
 *
 * Our own child's exit wakes the look at once; a process that somebody else spawned is seen to end by its lock, which is
 * looked at every POLL_MS. A supervisor never clears the mark of a stop that came after it: its starts end on it.
 */
import { status } from '../inspect/status.js';
import { start } from '../start/start.js';
import type { Mark } from '../state/mark-file.js';
import { besideLockFile, type CompleteSpec } from '../state/process-spec.js';
import { endForRestart, finishStop } from '../stop/stop.js';
import { Alarm } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { CrashLoopError, errorText, StoppedError, UnhealthyError } from '../support/errors.js';
import { CrashHistory, crashLoopError, leaveNothing } from './crash-history.js';
import { HealthChecks } from './health-checks.js';
import { Lookout, readableMark } from './observe.js';
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
  /** The stop that this supervision undoes: the one that was there when it began. */
  readonly #undone: Mark | undefined;
  readonly #lookout: Lookout;
  readonly #checks: HealthChecks;
  readonly #crashes: CrashHistory;
  readonly #alarm = new Alarm();
  readonly #onAbort = () => this.end();
  #starting = new AbortController();
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
    const markFile = besideLockFile(spec, 'down');
    this.#undone = options.respectStop ? undefined : readableMark(markFile);
    this.#lookout = new Lookout(spec, markFile, this.#undone);
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

  /** After a stop(): it has ended the start in progress, which may not have noticed yet. */
  async abort(): Promise<void> {
    this.#starting.abort();
    await this.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Without waiting for it. */
  end(): void {
    this.#isEnding = true;
    this.#checks.abort();
    this.#alarm.ring();
  }

  /** A child of this process has ended. Should its leftovers keep the lock, the check sees them. */
  onExit(): void {
    this.#checks.hurry();
    this.#alarm.ring();
  }

  async #run(): Promise<void> {
    try {
      if (!this.#isEnding) await this.#start({ isFirst: true });
      while (!this.#isEnding && isActive(this.#state)) {
        const action = TABLE[this.#state][await this.#look()];
        if (!this.#isEnding) await this.#act(action);
        if (!this.#isEnding) await this.#pause(action);
      }
    } catch (error) {
      if (error instanceof CrashLoopError) await leaveNothing(this.#spec);
      this.#state = 'gave-up';
      if (error instanceof CrashLoopError) this.#events.gaveUp(error);
      throw error;
    }
    this.#state = 'stopped';
  }

  async #look(): Promise<Sight> {
    const sight = await this.#lookout.look();
    return sight === 'held' && this.#checks.isSick ? 'sick' : sight;
  }

  async #act(action: Action): Promise<void> {
    switch (action) {
      case 'watch':
        if (this.#state !== 'watching') this.#become('watching');
        return this.#checks.runWhenDue();
      case 'replace':
        return await this.#replace(() => endForRestart(this.#spec, this.#checks.pid), { isCrash: true });
      case 'restart':
        return await this.#planAndStart({ isCrash: true });
      case 'finish stop':
        return await this.#replace(() => finishStop(this.#spec), { isCrash: false });
      case 'finish restart':
        return await this.#planAndStart({ isCrash: false });
      case 'start when due':
        return await this.#startWhenDue();
      case 'stand by':
        return this.#become('standby');
      case 'wait':
    }
  }

  async #replace(end: () => Promise<boolean>, { isCrash }: { isCrash: boolean }): Promise<void> {
    this.#become('restarting');
    this.#dueAt = 0;
    try {
      if (!(await end())) return;
    } catch (error) {
      this.#lastError = error;
      log('%s cannot be ended: %s', this.#spec.name, errorText(error));
      return;
    }
    // Whoever ends supervision meanwhile is to find it up.
    if (this.#isEnding) await this.#start({ isFirst: false });
    else await this.#planAndStart({ isCrash });
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
    this.#events.restarting({ attempt: Math.max(1, this.#crashes.count), delayMs });
  }

  async #startWhenDue(): Promise<void> {
    if (performance.now() >= this.#dueAt) await this.#start({ isFirst: false });
  }

  async #start({ isFirst }: { isFirst: boolean }): Promise<void> {
    this.#starting = new AbortController();
    const { signal } = this.#starting;
    try {
      const options = { events: this.#events, respectMarks: true, known: this.#undone, signal };
      const { reused } = await start(this.#spec, options);
      this.#lastError = undefined;
      if (!isFirst && !reused) this.#restarts += 1;
      if (!isFirst && reused && this.#isAfterCrash) this.#crashes.takeBack();
      this.#become('watching');
    } catch (error) {
      if (error instanceof StoppedError) this.#become('standby');
      else if (error instanceof UnhealthyError) {
        // Somebody else runs it: the checks will tell what becomes of it.
        if (!isFirst && this.#isAfterCrash) this.#crashes.takeBack();
        this.#become('watching');
      } else {
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
