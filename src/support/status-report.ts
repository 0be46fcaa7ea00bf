/** What `status()` reports: plain data, which errors carry too. */

/** The state of the process in a word. */
export type ProcessState =
  /** The lock is free, and no live process of ours lost its lock file. */
  | 'stopped'
  /** The lock is held, and the process is not ready yet, still inside `startTimeoutMs`. */
  | 'starting'
  /** The lock is held, and a `stop()` wants the process down. */
  | 'stopping'
  /** Every configured check passes. The PID file is only a cache: without it the holder is searched for. */
  | 'running'
  /** Our process fails a check after the start time, or it lost its lock file, or only its survivors hold the lock. */
  | 'unhealthy'
  /** The lock is held by a process that could not be identified as ours; or a predecessor lives. */
  | 'unknown';

/** What a supervisor is doing. 'stopped' and 'gave-up' are final. */
export type SupervisorState =
  /** The process runs, started here or elsewhere, and is supervised. */
  | 'watching'
  /** The process is being started, or will be after a delay. */
  | 'restarting'
  /** The process was stopped on purpose; a start() from anywhere wakes this supervisor. */
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
   * The layers, in the order in which they are checked. Undefined: not configured, or not reached because an earlier
   * one failed. A false `pidFile` does not end the chain: the holder is searched for.
   */
  readonly checks: {
    /** Somebody holds the exclusive lock. */
    readonly lock: boolean;
    /** The PID file names the process. */
    readonly pidFile: boolean | undefined;
    /** A live process was found. */
    readonly process: boolean | undefined;
    /** The process is proven to be the one that was started under this lock. */
    readonly identity: boolean | undefined;
    /** `port` and `readyPort` accept connections. */
    readonly port: boolean | undefined;
    /** The ready line was seen, and `isHealthy` said true. */
    readonly health: boolean | undefined;
  };
  /** As in Instance; empty when nothing runs, and in the statuses that a supervisor reports. */
  readonly differences: readonly string[];
  /** How the process ended last, if its parent lived to see that. */
  readonly lastExit?: {
    readonly pid: number;
    readonly exitCode: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly at: Date;
  };
  /** Restarts by supervisors since somebody's last `start()` or `supervise()`. */
  readonly restarts: number;
  /** The supervisor, in any process, that keeps it running or gave up; `lastError` is the message of its last error. */
  readonly supervisor?: { readonly pid: number; readonly state: SupervisorState; readonly lastError?: string };
  /** Lifetime 'shared': users of it now; two managers of one process or thread are two. */
  readonly users?: number;
  /** With `{ usage: true }`: percent of one core and of memory, as the system's process list gives them. */
  readonly usage?: { readonly cpu: number; readonly memory: number };
}
