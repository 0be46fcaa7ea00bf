/** What `status()` reports: plain data, named by the errors too. */

/** The process in a word. */
export type ProcessState =
  /** The lock is free, and no live process of ours lost its lock file. */
  | 'stopped'
  /** The lock is held, not ready yet, still inside `startTimeoutMs`. */
  | 'starting'
  /** The lock is held, and a `stop()` wants it down. */
  | 'stopping'
  /** Every configured check passes. The PID file is only a cache: without it the holder is searched. */
  | 'running'
  /** Our process is there and a check fails after the start time; or it lost its lock file; or only leftovers of it hold the lock. */
  | 'unhealthy'
  /** The lock is held by a process that could not be identified as ours. */
  | 'unknown';

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

/** What `status()` saw, and which checks led to it. */
export interface Status {
  readonly state: ProcessState;
  readonly pid: number | undefined;
  readonly startedAt: Date | undefined;
  /** Milliseconds since the process started. */
  readonly uptimeMs: number | undefined;
  /** `host:port`, when the spec has a port, or the ready line of the process named one. */
  readonly address: string | undefined;
  /**
   * The layers, in the order they are asked; undefined: not configured, or not reached because an earlier one failed.
   * A false `pidFile` does not end the chain: the holder is searched.
   */
  readonly checks: {
    /** Somebody holds the exclusive lock. */
    readonly lock: boolean;
    /** The PID file names the process. */
    readonly pidFile: boolean | undefined;
    /** A live process was found. */
    readonly process: boolean | undefined;
    /** It is proven to be the one that was started under this lock. */
    readonly identity: boolean | undefined;
    /** `port` and `readyPort` accept connections. */
    readonly port: boolean | undefined;
    /** The ready line was seen, and `isHealthy` said true. */
    readonly health: boolean | undefined;
  };
  /** As in Instance; empty when nothing runs, and in what a supervisor reports. */
  readonly differences: readonly string[];
  /** How it ended last, where its parent lived to see it. */
  readonly lastExit?: {
    readonly pid: number;
    readonly exitCode: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly at: Date;
  };
  /** Restarts by supervisors since somebody's last `start()` or `supervise()`. */
  readonly restarts: number;
  /** Who keeps it running, in whichever process, or gave up on it; `lastError` is the message of what it met last. */
  readonly supervisor?: { readonly pid: number; readonly state: SupervisorState; readonly lastError?: string };
  /** Lifetime 'shared': processes and threads that use it now. */
  readonly users?: number;
  /** With `{ usage: true }`: percent of one core and of memory, as the system's process list gives them. */
  readonly usage?: { readonly cpu: number; readonly memory: number };
}
