/** The checks of a live process, beside the looks at its lock: one that takes its time must not hold those up. */
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import type { Status } from '../support/status-report.js';
import type { SupervisorOptions } from './policy.js';

type Options = Pick<SupervisorOptions, 'checkIntervalMs' | 'unhealthyAfter'>;

const log = debugLog('supervisor');

export class HealthChecks {
  readonly #ask: (signal: AbortSignal) => Promise<Status>;
  readonly #options: Options;
  readonly #announce: (report: Status) => void;
  #dueAt = 0;
  /** Of the check that is under way. */
  #underWay: AbortController | undefined;
  #failed = 0;
  #pid: number | undefined;

  /** @param announce is told of each check that failed */
  constructor(ask: (signal: AbortSignal) => Promise<Status>, options: Options, announce: (report: Status) => void) {
    this.#ask = ask;
    this.#options = options;
    this.#announce = announce;
  }

  get isSick(): boolean {
    return this.#failed >= this.#options.unhealthyAfter;
  }

  /** Whom the checks are about; undefined when only leftovers are there. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** Of another process, or of none: the first check is one interval from now. */
  reset(): void {
    this.abort();
    this.#failed = 0;
    this.#dueAt = performance.now() + this.#options.checkIntervalMs;
  }

  /** What the check that is under way finds out is of no use any more; nobody waits for it. */
  abort(): void {
    this.#underWay?.abort();
    this.#underWay = undefined;
  }

  hurry(): void {
    this.#dueAt = 0;
  }

  runWhenDue(): void {
    if (this.#underWay !== undefined || performance.now() < this.#dueAt) return;
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#underWay = new AbortController();
    void this.#run(this.#underWay.signal);
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      const report = await this.#ask(signal);
      if (!signal.aborted) this.#judge(report);
    } catch (error) {
      log('cannot be checked: %s', errorText(error));
    }
    if (signal.aborted) return;
    this.#underWay = undefined;
    this.#dueAt = Math.min(this.#dueAt, performance.now() + this.#options.checkIntervalMs);
  }

  #judge(report: Status): void {
    if (report.pid !== this.#pid || report.state === 'running') this.#failed = 0;
    this.#pid = report.pid;
    if (report.state !== 'unhealthy') return;
    // Nothing is left to recover where only leftovers have the lock.
    const areLeftovers = report.pid === undefined;
    this.#failed = areLeftovers ? Number.POSITIVE_INFINITY : this.#failed + 1;
    this.#announce(report);
  }
}
