/**
 * Keep it running. What is wanted (NAME.down) and what is (the lock, the checks) are looked at apart; what a sight means
 * depends on the state, and stands in one table.
 *
 * Our own child's exit wakes the look at once; a process that somebody else spawned is seen to end by its lock, which is
 * looked at every POLL_MS. A supervisor never clears a stop's mark: its starts end on it.
 */
import { isLocked } from '../lock/file-lock.js';
import { debugLog } from '../shared/debug.js';
import { CrashLoopError, errorText, StoppedError, UnhealthyError } from '../shared/errors.js';
import type { Status } from '../shared/status-report.js';
import { CrashHistory, type CrashPolicy } from './crash-history.js';
import { isStopAtWork, readMark } from './down-mark.js';
import type { LaunchEvents } from './launch.js';
import { readLogTail } from './log-file.js';
import { besideLockFile, type CompleteSpec } from './process-spec.js';
import { endForRestart, finishRestart } from './restart.js';
import { start } from './start.js';
import { status } from './status.js';

export interface Supervisor {
  readonly state: SupervisorState;
  /** Restarts that this supervisor made. One that another process was quicker to make is not counted. */
  readonly restarts: number;
  /** Settles when supervision ends; rejects with CrashLoopError when it gave up. Ignoring it is safe: never an unhandled rejection. */
  readonly done: Promise<void>;
  /** Ends supervision after a start in progress is through; the process stays up. */
  stop(): Promise<void>;
  /** The same as `stop()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export type SupervisorState =
  /** It runs, here or started elsewhere, and is looked after. */
  | 'watching'
  /** It is being started, or will be after a delay. */
  | 'restarting'
  /** It was stopped on purpose; a start() from anywhere wakes this supervisor. */
  | 'standby'
  | 'stopped'
  | 'gave-up';

export interface SupervisorEvents extends LaunchEvents {
  unhealthy(status: Status): void;
  restarting(detail: { attempt: number; delayMs: number }): void;
  gaveUp(error: CrashLoopError): void;
}

export interface SupervisorOptions extends CrashPolicy {
  readonly checkIntervalMs: number;
  readonly respectStop: boolean;
  readonly unhealthyAfter: number;
  readonly signal: AbortSignal | undefined;
}

/** A look costs some 20 µs; a second supervisor must have taken over within a second. */
const POLL_MS = 50;

/** A restart with nobody at it may be about to win the lock; one that died leaves its mark for longer. */
const DEAD_RESTART_MS = 200;

const LOG_TAIL_LINES = 20;

/** What there is to see: the lock, free or held, unless somebody's stop or restart says what comes. */
type Sight = 'held' | 'sick' | 'free' | 'stopped' | 'being restarted' | 'half restarted';

type Action = 'watch' | 'replace' | 'finish restart' | 'plan' | 'start when due' | 'stand by' | 'wait';

const ANY_STATE = { 'being restarted': 'wait', 'half restarted': 'finish restart' } as const;

const TABLE: Readonly<Record<'watching' | 'restarting' | 'standby', Readonly<Record<Sight, Action>>>> = {
  watching: { held: 'watch', sick: 'replace', free: 'plan', stopped: 'stand by', ...ANY_STATE },
  restarting: { held: 'watch', sick: 'watch', free: 'start when due', stopped: 'stand by', ...ANY_STATE },
  standby: { held: 'watch', sick: 'watch', free: 'plan', stopped: 'wait', ...ANY_STATE },
};

const log = debugLog('supervisor');

export class ProcessSupervisor implements Supervisor {
  readonly done: Promise<void>;
  readonly #spec: CompleteSpec;
  readonly #markFile: string;
  readonly #options: SupervisorOptions;
  readonly #events: SupervisorEvents;
  readonly #crashes: CrashHistory;
  #state: SupervisorState = 'restarting';
  #restarts = 0;
  #isEnding = false;
  #wake: () => void = () => undefined;
  #dueAt = 0;
  #isCounted = true;
  #lastError: unknown;
  #deadRestartSince: number | undefined;
  #checkAt = 0;
  #check: Promise<void> | undefined;
  #failedChecks = 0;
  #checkedPid: number | undefined;

  constructor(spec: CompleteSpec, options: SupervisorOptions, events: SupervisorEvents) {
    this.#spec = spec;
    this.#markFile = besideLockFile(spec, 'down');
    this.#options = options;
    this.#crashes = new CrashHistory(options);
    this.#events = { ...events, exit: (detail) => this.#onExit(() => events.exit(detail)) };
    options.signal?.addEventListener('abort', () => this.end(), { once: true });
    if (options.signal?.aborted) this.end();
    this.done = this.#run();
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
    this.#wake();
  }

  async #run(): Promise<void> {
    try {
      if (!this.#isEnding) await this.#begin();
      while (!this.#isEnding && isActive(this.#state)) {
        const action = TABLE[this.#state][await this.#look()];
        if (!this.#isEnding) await this.#act(action);
        if (!this.#isEnding) await this.#pause();
      }
      await this.#check;
    } catch (error) {
      this.#state = 'gave-up';
      if (error instanceof CrashLoopError) this.#events.gaveUp(error);
      throw error;
    }
    this.#state = 'stopped';
  }

  /** The first start is none of the restarts; when it fails it counts as a crash all the same. */
  async #begin(): Promise<void> {
    const isStopped = this.#options.respectStop && readMark(this.#markFile)?.isRestart === false;
    if (isStopped) this.#become('standby');
    else await this.#start({ isFirst: true });
  }

  async #look(): Promise<Sight> {
    try {
      const mark = readMark(this.#markFile);
      if (mark !== undefined && !mark.isRestart) return 'stopped';
      if (mark !== undefined && (await this.#isRestartAtWork())) return 'being restarted';
      if (mark === undefined) this.#deadRestartSince = undefined;
      if (!isLocked(this.#spec.lockFile)) return 'free';
      if (mark !== undefined) return 'half restarted';
    } catch (error) {
      log('%s cannot be looked at: %s', this.#spec.name, errorText(error));
      return 'being restarted';
    }
    return this.#failedChecks >= this.#options.unhealthyAfter ? 'sick' : 'held';
  }

  async #isRestartAtWork(): Promise<boolean> {
    if (await isStopAtWork(this.#markFile)) {
      this.#deadRestartSince = undefined;
      return true;
    }
    this.#deadRestartSince ??= performance.now();
    return performance.now() - this.#deadRestartSince < DEAD_RESTART_MS;
  }

  async #act(action: Action): Promise<void> {
    if (action === 'watch') this.#watch();
    else if (action === 'replace') await this.#end(() => endForRestart(this.#spec, this.#checkedPid), true);
    else if (action === 'finish restart') await this.#end(() => finishRestart(this.#spec), false);
    // Down because a restart from outside died half-way: that is no crash.
    else if (action === 'plan') this.#plan({ isCounted: this.#deadRestartSince === undefined });
    else if (action === 'stand by') this.#become('standby');
    if (action === 'plan' || action === 'start when due') await this.#startWhenDue();
  }

  #watch(): void {
    if (this.#state !== 'watching') this.#become('watching');
    if (this.#check === undefined && performance.now() >= this.#checkAt) {
      this.#check = this.#runCheck().finally(() => {
        this.#check = undefined;
        this.#checkAt = performance.now() + this.#options.checkIntervalMs;
      });
    }
  }

  /** Beside the looks at the lock, which a check that takes its time must not hold up. */
  async #runCheck(): Promise<void> {
    try {
      const report = await status(this.#spec);
      if (report.pid !== this.#checkedPid) this.#failedChecks = 0;
      this.#checkedPid = report.pid;
      if (report.state === 'running') this.#failedChecks = 0;
      if (report.state !== 'unhealthy') return;
      // Nothing is left to recover where only leftovers have the lock.
      this.#failedChecks =
        report.checks.process === false && report.pid === undefined ? Number.POSITIVE_INFINITY : this.#failedChecks + 1;
      this.#events.unhealthy(report);
    } catch (error) {
      log('%s cannot be checked: %s', this.#spec.name, errorText(error));
    }
  }

  /** End it as a restart does, and start it when that is due. */
  async #end(end: () => Promise<boolean>, isCounted: boolean): Promise<void> {
    this.#become('restarting');
    this.#failedChecks = 0;
    this.#dueAt = 0;
    try {
      if (!(await end())) return;
      this.#plan({ isCounted });
      await this.#startWhenDue();
    } catch (error) {
      if (error instanceof CrashLoopError) throw error;
      this.#lastError = error;
      log('%s cannot be ended: %s', this.#spec.name, errorText(error));
    }
  }

  #plan({ isCounted }: { isCounted: boolean }): void {
    this.#isCounted = isCounted;
    this.#become('restarting');
    if (this.#isCounted) this.#crashes.add();
    if (this.#crashes.isLoop) throw this.#crashLoopError();
    const delayMs = this.#crashes.delayMs();
    this.#dueAt = performance.now() + delayMs;
    this.#events.restarting({ attempt: this.#crashes.count, delayMs });
  }

  async #startWhenDue(): Promise<void> {
    if (performance.now() >= this.#dueAt) await this.#start({ isFirst: false });
  }

  async #start({ isFirst }: { isFirst: boolean }): Promise<void> {
    try {
      const respectMarks = !isFirst || this.#options.respectStop;
      const { reused } = await start(this.#spec, { events: this.#events, respectMarks });
      if (!isFirst && !reused) this.#restarts += 1;
      if (!isFirst && reused && this.#isCounted) this.#crashes.takeBack();
      this.#become('watching');
    } catch (error) {
      if (error instanceof StoppedError) this.#become('standby');
      else if (error instanceof UnhealthyError) this.#become('watching');
      else {
        this.#lastError = error;
        log('%s could not be started: %s', this.#spec.name, errorText(error));
        if (!this.#isEnding) this.#plan({ isCounted: true });
      }
    }
  }

  #become(state: SupervisorState): void {
    if (state !== this.#state) log('%s: %s → %s', this.#spec.name, this.#state, state);
    if (state === 'watching') {
      this.#failedChecks = 0;
      this.#checkAt = performance.now() + this.#options.checkIntervalMs;
    }
    this.#state = state;
  }

  #onExit(announce: () => void): void {
    announce();
    // Should its leftovers keep the lock, the check sees them.
    this.#checkAt = 0;
    this.#wake();
  }

  async #pause(): Promise<void> {
    const untilDueMs = this.#state === 'restarting' ? Math.max(1, this.#dueAt - performance.now()) : POLL_MS;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(POLL_MS, untilDueMs));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #crashLoopError(): CrashLoopError {
    const { name, logFile } = this.#spec;
    const restarts = this.#crashes.count - 1;
    const { withinMs } = this.#options.giveUpAfter;
    const last = this.#lastError === undefined ? '' : `; the last start: ${errorText(this.#lastError)}`;
    const message = `Gave up on ${name}: it went down again after ${restarts} restarts within ${withinMs} ms${last}. See "${logFile}"`;
    const logTail = readLogTail(logFile, LOG_TAIL_LINES);
    return new CrashLoopError(message, { restarts, lastError: this.#lastError, logTail });
  }
}

function isActive(state: SupervisorState): state is 'watching' | 'restarting' | 'standby' {
  return state === 'watching' || state === 'restarting' || state === 'standby';
}
