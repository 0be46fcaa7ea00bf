/**
 * What `supervise()` takes and returns, with the defaults of its options, and the decisions that rest on them: when a
 * process is sick, how long a restart waits, and when the supervisor gives up.
 */
import { journalOf, randomWord } from '../state/journal.js';
import type { JournalEventName } from '../state/journal-state.js';
import { readLogTail } from '../state/log-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { debugLog } from '../support/debug.js';
import { CrashLoopError, errorText, howEnded } from '../support/errors.js';
import { newAbort, now, random } from '../support/globals.js';
import { check, checkNumber, checkRecord, isAbortSignal, optional, wrongOption } from '../support/options.js';
import type { Status, SupervisorState } from '../support/status-report.js';
import { ownStartKey, processTable } from '../system/process-table.js';

/** When a supervisor checks the process, when it restarts it, and when it gives up. */
export interface SuperviseOptions {
  /** Milliseconds between two checks of a live process. @default 5_000 */
  checkIntervalMs?: number;
  /** Begin on standby when the process was stopped on purpose, instead of starting it. @default false */
  respectStop?: boolean;
  /** Failed checks in a row before a live process is restarted. @default 3 */
  unhealthyAfter?: number;
  /**
   * The first restart within `giveUpAfter.withinMs` is immediate; the next waits `initialMs`, each further one `factor`
   * times longer, with jitter, up to `maxMs`. @default { initialMs: 500, factor: 2, maxMs: 30_000 }
   */
  backoff?: { initialMs?: number; factor?: number; maxMs?: number };
  /**
   * More restarts than this within the window is a crash loop. A process that lived shorter than `diedWithinMs` is not
   * started again at all. `false` never gives up, and the delays grow with the crashes in a row.
   * @default { restarts: 5, withinMs: 60_000, diedWithinMs: 0 }
   */
  giveUpAfter?: { restarts?: number; withinMs?: number; diedWithinMs?: number } | false;
  /**
   * 'failure': an exit with code 0 is no crash, and the supervisor goes to standby. The exit code is known only while
   * the parent of the process lives; an end without one counts as a crash. @default 'exit'
   */
  restartOn?: 'exit' | 'failure';
  /** Ends supervision as `Supervisor.stop()` does. */
  signal?: AbortSignal;
}

/** The handle of a supervision under way. While it is active it keeps this process alive. */
export interface Supervisor {
  readonly state: SupervisorState;
  /** Restarts by this supervisor, counted before `ready` is emitted. One that another process made is not counted. */
  readonly restarts: number;
  /**
   * Settles when supervision ends; rejects with CrashLoopError when it gave up. Ignoring it is safe: there is never an
   * unhandled rejection.
   */
  readonly done: Promise<void>;
  /** Ends supervision, once a start in progress has finished; the process stays up. */
  stop(): Promise<void>;
  /** The same as `stop()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export type SupervisorOptions = ReturnType<typeof completeSuperviseOptions>;

/** @throws TypeError naming option, expectation and value */
export function completeSuperviseOptions(options: SuperviseOptions) {
  checkRecord('options', options);
  const { checkIntervalMs = 5_000, respectStop = false, unhealthyAfter = 3, signal } = options;
  const { backoff = {}, giveUpAfter = {}, restartOn = 'exit' } = options;
  checkRecord('backoff', backoff);
  if (giveUpAfter !== false) checkRecord('giveUpAfter', giveUpAfter);
  const { initialMs = 500, factor = 2, maxMs = 30_000 } = backoff;
  const { restarts = 5, withinMs = 60_000, diedWithinMs = 0 } = giveUpAfter || { restarts: Number.POSITIVE_INFINITY };
  checkNumber('checkIntervalMs', checkIntervalMs, { least: 0 });
  checkNumber('unhealthyAfter', unhealthyAfter, { least: 1 });
  checkNumber('backoff.initialMs', initialMs, { least: 0 });
  checkNumber('backoff.factor', factor, { least: 1 });
  checkNumber('backoff.maxMs', maxMs, { least: 0 });
  checkNumber('giveUpAfter.restarts', restarts, { least: 0 });
  checkNumber('giveUpAfter.withinMs', withinMs, { least: 0 });
  checkNumber('giveUpAfter.diedWithinMs', diedWithinMs, { least: 0 });
  check('restartOn', restartOn, (it) => it === 'exit' || it === 'failure', '"exit" or "failure"');
  if (typeof respectStop !== 'boolean') throw wrongOption('respectStop', 'true or false', respectStop);
  check('signal', signal, optional(isAbortSignal), 'an AbortSignal');
  return {
    checkIntervalMs,
    respectStop,
    unhealthyAfter,
    backoff: { initialMs, factor, maxMs },
    giveUpAfter: { restarts, withinMs, diedWithinMs },
    restartOn,
    signal,
  };
}

/**
 * How long the restart after the `count`-th crash waits, in milliseconds: the first is immediate. A fifth of the
 * delay is random, so that several supervisors that saw the same crash do not restart in the same instant.
 */
export function restartDelayMs(count: number, backoff: SupervisorOptions['backoff']): number {
  const { initialMs, factor, maxMs } = backoff;
  if (count <= 1 || initialMs === 0) return 0;
  return Math.min(maxMs, initialMs * factor ** (count - 2)) * (1 - 0.2 * random());
}

/** With these the delay has long been `maxMs`. */
const MOST_IN_A_ROW = 1_000;

/**
 * The crashes that count: those within the window. A supervisor that never gives up counts those in a row, since its
 * delays can outgrow the window; a process that lived for as long as the window ends the row.
 * @param dueAt when the process that crashed last was due
 */
export function countedCrashes(
  crashes: readonly number[],
  dueAt: number,
  { restarts, withinMs }: SupervisorOptions['giveUpAfter'],
): number[] {
  const isRow = restarts === Number.POSITIVE_INFINITY && now() - dueAt < withinMs;
  return isRow ? crashes.slice(-MOST_IN_A_ROW) : crashes.filter((time) => now() - time < withinMs);
}

/** @param count crashes that count */
export function reasonToGiveUp(
  { count, livedMs = Number.POSITIVE_INFINITY }: { count: number; livedMs: number | undefined },
  { restarts, withinMs, diedWithinMs }: SupervisorOptions['giveUpAfter'],
): string | undefined {
  if (livedMs < diedWithinMs) return `it lived for less than ${diedWithinMs} ms`;
  return count > restarts ? `it went down again after ${count - 1} restarts within ${withinMs} ms` : undefined;
}

const LOG_TAIL_LINES = 20;

export function crashLoopError(
  spec: CompleteSpec,
  why: string,
  { restarts, lastError }: Pick<CrashLoopError, 'restarts' | 'lastError'>,
): CrashLoopError {
  const { name, logFile } = spec;
  const last = lastError === undefined ? lastExit(spec) : `; the last start: ${errorText(lastError)}`;
  const message = `Gave up on ${name}: ${why}, see "${logFile}"${last}`;
  return new CrashLoopError(message, {
    restarts,
    lastError,
    cause: lastError,
    logTail: readLogTail(logFile, LOG_TAIL_LINES),
  });
}

function lastExit(spec: CompleteSpec): string {
  const state = journalOf(spec).readIfReadable();
  const exit = state.hasExited ? state.last('exit') : undefined;
  return exit === undefined ? '' : `; the last one (PID ${exit.pid}) ended ${howEnded(exit.exitCode, exit.signal)}`;
}

const log = debugLog('supervisor');

type CheckOptions = Pick<SupervisorOptions, 'checkIntervalMs' | 'unhealthyAfter'>;

/** The checks of a live process. They run beside the loop that observes its lock, since a check may take its time. */
export class HealthChecks {
  readonly #ask: (signal: AbortSignal) => Promise<Status>;
  readonly #options: CheckOptions;
  readonly #announce: (report: Status) => void;
  #dueAt = 0;
  #running: AbortController | undefined;
  #failed = 0;
  /** True when the last report that was announced is of a failed check. */
  #isUnhealthy = false;
  /** The process that the checks are about; undefined when only leftovers of it are there. */
  pid: number | undefined;

  /** @param announce called for each failed check, and for the first passed one after failed ones */
  constructor(
    ask: (signal: AbortSignal) => Promise<Status>,
    options: CheckOptions,
    announce: (report: Status) => void,
  ) {
    this.#ask = ask;
    this.#options = options;
    this.#announce = announce;
  }

  get isSick(): boolean {
    return this.#failed >= this.#options.unhealthyAfter;
  }

  /** Begins anew for another process, or for none: the first check is one interval from now. */
  reset(): void {
    this.#failed = 0;
    this.#scheduleIn(this.#options.checkIntervalMs);
  }

  hurry(): void {
    this.#scheduleIn(0);
  }

  /** A check that is under way is aborted, and its result does not count. */
  #scheduleIn(ms: number): void {
    this.#running?.abort();
    this.#running = undefined;
    this.#dueAt = now() + ms;
  }

  /** Never rejects. */
  async runWhenDue(): Promise<void> {
    if (this.#running !== undefined || now() < this.#dueAt) return;
    this.#running = newAbort();
    const { signal } = this.#running;
    try {
      const report = await this.#ask(signal);
      if (!signal.aborted) this.#judge(report);
    } catch (error) {
      log('the process cannot be checked: %s', errorText(error));
    }
    if (!signal.aborted) this.#scheduleIn(this.#options.checkIntervalMs);
  }

  #judge(report: Status): void {
    if (report.pid !== this.pid || report.state === 'running') this.#failed = 0;
    this.pid = report.pid;
    // If whoever wanted to end it is gone, endSick() ends it.
    if (report.state === 'stopping') this.#failed += 1;
    const isRecovered = this.#isUnhealthy && report.state === 'running';
    if (report.state !== 'unhealthy' && !isRecovered) return;
    this.#isUnhealthy = !isRecovered;
    // Leftovers without their process cannot recover: one failed check is enough.
    if (!isRecovered) this.#failed = report.pid === undefined ? Number.POSITIVE_INFINITY : this.#failed + 1;
    this.#announce(report);
  }
}

/** Writes the journal lines of one supervisor. By the identity in each line others can tell whether it lives. */
export function notesOf(spec: CompleteSpec, restartOn: SupervisorOptions['restartOn']) {
  const isForFailures = restartOn === 'failure' || undefined;
  let identity = {};
  return {
    async identify(): Promise<void> {
      const startKey = await ownStartKey().catch(() => undefined); // Without a key, others take it for dead.
      identity = { supervisor: randomWord(), startKey, boot: processTable().boot(), isForFailures };
    },
    note(event: JournalEventName, fields = {}, cause?: unknown): void {
      const error = cause && errorText(cause).slice(0, 1_000); // Readers skip a line of more than 8 KiB.
      journalOf(spec).note(event, { ...fields, error, ...identity });
    },
  };
}
