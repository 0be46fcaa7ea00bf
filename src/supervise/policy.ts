/** The policy of supervision: what a sight means in which state, and how long to wait before the next restart. */
import type { LaunchEvents } from '../start/launch.js';
import type { CrashLoopError } from '../support/errors.js';
import { now, random } from '../support/globals.js';
import type { Status } from '../support/status-report.js';
import type { SupervisorOptions } from './options.js';

/** The handle of a supervision under way. While it is active it keeps this process alive. */
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

export interface SupervisorEvents extends LaunchEvents {
  unhealthy(status: Status): void;
  restarting(detail: { attempt: number; delayMs: number }): void;
  gaveUp(error: CrashLoopError): void;
}

/** What a supervisor is at. 'stopped' and 'gave-up' are final. */
export type SupervisorState =
  /** It runs, here or started elsewhere, and is looked after. */
  | 'watching'
  /** It is being started, or will be after a delay. */
  | 'restarting'
  /** It was stopped on purpose; a start() from anywhere wakes this supervisor. */
  | 'standby'
  | 'stopped'
  | 'gave-up';

export type ActiveState = Exclude<SupervisorState, 'stopped' | 'gave-up'>;

/** What is wanted (the journal) and what is (the lock, the checks), in one word. */
export type Sight =
  /** Somebody has the lock, and nothing is known against it. */
  | 'held'
  /** The same, and too many checks in a row have failed. */
  | 'sick'
  /** Wanted, and nobody has the lock. */
  | 'free'
  /** A stop() is at work, or has been. */
  | 'stopped'
  /** Nobody has the lock, and a restart() is at work, or has died between its halves. */
  | 'restarting'
  /** The lock or the journal could not be read. */
  | 'unseen';

export type Action =
  | 'watch'
  /** End it, as a restart does, and start another one. */
  | 'replace'
  /** It crashed: plan a restart, at once or after a delay. */
  | 'restart'
  /** Start it, unless the restart() does. That was no crash. */
  | 'take part in restart'
  | 'start when due'
  | 'stand by'
  | 'wait';

export function decide(state: ActiveState, sight: Sight): Action {
  if (sight === 'stopped') return 'stand by';
  if (sight === 'held') return 'watch';
  if (sight === 'sick') return state === 'watching' ? 'replace' : 'watch';
  // Also when nothing can be seen: the start fails then, and counts.
  if (state === 'restarting') return 'start when due';
  if (sight === 'unseen') return 'wait';
  return sight === 'restarting' ? 'take part in restart' : 'restart';
}

/** The share of a delay that is left to chance: several supervisors that saw the same crash do not come back in the same instant. */
const JITTER = 0.2;

/** The crashes within the window of `giveUpAfter`. */
export class CrashHistory {
  readonly #policy: Pick<SupervisorOptions, 'backoff' | 'giveUpAfter'>;
  readonly #clock: () => number;
  #times: number[] = [];

  constructor(policy: Pick<SupervisorOptions, 'backoff' | 'giveUpAfter'>, clock = now) {
    this.#policy = policy;
    this.#clock = clock;
  }

  get count(): number {
    const { withinMs } = this.#policy.giveUpAfter;
    this.#times = this.#times.filter((time) => this.#clock() - time < withinMs);
    return this.#times.length;
  }

  get isLoop(): boolean {
    return this.count > this.#policy.giveUpAfter.restarts;
  }

  add(): void {
    this.#times.push(this.#clock());
  }

  /** The last one does not count: somebody else was quicker to restart it. */
  takeBack(): void {
    this.#times.pop();
  }

  /** The first restart within the window is immediate. */
  delayMs(): number {
    const { initialMs, factor, maxMs } = this.#policy.backoff;
    const count = this.count;
    if (count <= 1 || initialMs === 0) return 0;
    // At the maximum too, and never above it.
    return Math.min(maxMs, initialMs * factor ** (count - 2)) * (1 - JITTER * random());
  }
}
