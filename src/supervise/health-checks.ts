/** The checks of a live process. They run beside the loop that observes its lock, since a check may take its time. */
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import { newAbort, now } from '../support/globals.js';
import type { Status } from '../support/status-report.js';
import type { SupervisorOptions } from './policy.js';

const log = debugLog('supervisor');

type Options = Pick<SupervisorOptions, 'checkIntervalMs' | 'unhealthyAfter'>;

export class HealthChecks {
  readonly #ask: (signal: AbortSignal) => Promise<Status>;
  readonly #options: Options;
  readonly #announce: (report: Status) => void;
  #dueAt = 0;
  #running: AbortController | undefined;
  #failed = 0;
  /** A failed check was announced last. */
  #isUnhealthy = false;
  /** The process that the checks are about; undefined when only leftovers of it are there. */
  pid: number | undefined;

  /** @param announce is told of each check that failed, and of the first one after these that is passed */
  constructor(ask: (signal: AbortSignal) => Promise<Status>, options: Options, announce: (report: Status) => void) {
    this.#ask = ask;
    this.#options = options;
    this.#announce = announce;
  }

  get isSick(): boolean {
    return this.#failed >= this.#options.unhealthyAfter;
  }

  /** For another process, or for none: the first check is one interval from now. */
  reset(): void {
    this.#failed = 0;
    this.#scheduleIn(this.#options.checkIntervalMs);
  }

  hurry(): void {
    this.#scheduleIn(0);
  }

  /** A check that is under way ends at once, and nothing comes of it. */
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
      log('cannot be checked: %s', errorText(error));
    }
    if (!signal.aborted) this.#scheduleIn(this.#options.checkIntervalMs);
  }

  #judge(report: Status): void {
    if (report.pid !== this.pid || report.state === 'running') this.#failed = 0;
    this.pid = report.pid;
    const isRecovered = this.#isUnhealthy && report.state === 'running';
    if (report.state !== 'unhealthy' && !isRecovered) return;
    this.#isUnhealthy = !isRecovered;
    // Nothing is left to recover where only leftovers have the lock.
    if (!isRecovered) this.#failed = report.pid === undefined ? Number.POSITIVE_INFINITY : this.#failed + 1;
    this.#announce(report);
  }
}
