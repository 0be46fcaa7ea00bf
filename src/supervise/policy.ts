/** The policy of supervision: what a sight means depends on the state, and stands here in one table. */
import type { LaunchEvents } from '../start/launch.js';
import type { CrashLoopError } from '../support/errors.js';
import type { Status } from '../support/status-report.js';
import type { CrashPolicy } from './crash-history.js';

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

export type ActiveState = Exclude<SupervisorState, 'stopped' | 'gave-up'>;

/** What there is to see: what is wanted (the mark) and what is (the lock, the checks), in one word. */
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
  /** The look failed. Where a start is due, it is made all the same: it fails, and counts. */
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

const IN_ANY_STATE = { stopped: 'stand by' } as const;

export const TABLE: Readonly<Record<ActiveState, Readonly<Record<Sight, Action>>>> = {
  watching: {
    held: 'watch',
    sick: 'replace',
    free: 'restart',
    restarting: 'take part in restart',
    unseen: 'wait',
    ...IN_ANY_STATE,
  },
  restarting: {
    held: 'watch',
    sick: 'watch',
    free: 'start when due',
    restarting: 'start when due',
    unseen: 'start when due',
    ...IN_ANY_STATE,
  },
  standby: {
    held: 'watch',
    sick: 'watch',
    free: 'restart',
    restarting: 'take part in restart',
    unseen: 'wait',
    ...IN_ANY_STATE,
  },
};

export function isActive(state: SupervisorState): state is ActiveState {
  return state in TABLE;
}
