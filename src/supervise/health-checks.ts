/** The checks of a live process, beside the looks at its lock: one that takes its time must not hold those up. */
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import type { Status } from '../support/status-report.js';
import type { SupervisorOptions } from './policy.js';

type Options = Pick<SupervisorOptions, 'checkIntervalMs' | 'unhealthyAfter'>;

const log = debugLog('supervisor');

export class HealthChecks {
  readonly #ask: () => Promise<Status>;
  readonly #options: Options;
  readonly #announce: (report: Status) => void;
  #dueAt = 0;
  #running: Promise<void> | undefined;
  /** What a check finds out about the process before is of no use any more. */
  #epoch = 0;
  #failed = 0;
  #pid: number | undefined;

  /** @param announce is told of each check that failed */
  constructor(ask: () => Promise<Status>, options: Options, announce: (report: Status) => void) {
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
    this.#epoch += 1;
    this.#failed = 0;
    this.#dueAt = performance.now() + this.#options.checkIntervalMs;
  }

  hurry(): void {
    this.#dueAt = 0;
  }

  runWhenDue(): void {
    if (this.#running !== undefined || performance.now() < this.#dueAt) return;
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#dueAt === Number.POSITIVE_INFINITY) this.#dueAt = performance.now() + this.#options.checkIntervalMs;
    });
  }

  /** The check that is under way is through. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const epoch = this.#epoch;
    try {
      const report = await this.#ask();
      if (epoch === this.#epoch) this.#judge(report);
    } catch (error) {
      log('cannot be checked: %s', errorText(error));
    }
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
