/** What a process table tells, whichever it is. */

export interface ProcessInfo {
  readonly pid: number;
  /**
   * Start time as this system writes it; compared, never interpreted. Only the two together are the process: a PID alone can
   * have been given to another one.
   */
  readonly startKey: string;
  readonly parentPid: number;
  readonly groupId: number;
  /** Where the system does not tell sessions it is the group. */
  readonly sessionId: number;
  /** Dead, and not yet collected by its parent: it holds nothing any more. */
  readonly isZombie: boolean;
  /** On its way out: what it has open cannot be seen any more, although it may still be open. */
  readonly isExiting: boolean;
  /** Stopped by a signal (SIGSTOP, Ctrl-Z): alive, and doing nothing. Its port still accepts, in the kernel. */
  readonly isSuspended: boolean;
}

/** A descriptor of a live process through which a lock on a file is held. */
export interface Carrier {
  readonly process: ProcessInfo;
  readonly fd: number;
  /** Opened with our flags; undefined where the system does not tell. */
  readonly isOpenedByUs: boolean | undefined;
}
