/** What supervision is to others: its handle, its states, its options when they are complete, and what it announces. */
import type { CrashLoopError } from '../shared/errors.js';
import type { Status } from '../shared/status-report.js';
import type { CrashPolicy } from './crash-history.js';
import type { LaunchEvents } from './launch.js';

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
