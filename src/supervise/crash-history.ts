/** How often it crashed lately, and so how long to wait before the next restart, or whether to give up. */
import { readLogTail } from '../state/log-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { endLost } from '../stop/stop.js';
import { debugLog } from '../support/debug.js';
import { CrashLoopError, errorText } from '../support/errors.js';

export interface CrashPolicy {
  /** The second restart within the window waits this long, each further one `factor` times longer, up to `maxMs`. */
  readonly backoff: { readonly initialMs: number; readonly factor: number; readonly maxMs: number };
  readonly giveUpAfter: { readonly restarts: number; readonly withinMs: number };
}

/** The share of a delay that is left to chance: several supervisors that saw the same crash do not come back in the same instant. */
const JITTER = 0.2;

export class CrashHistory {
  readonly #policy: CrashPolicy;
  #times: number[] = [];

  constructor(policy: CrashPolicy) {
    this.#policy = policy;
  }

  /** Crashes within the window. */
  get count(): number {
    const { withinMs } = this.#policy.giveUpAfter;
    this.#times = this.#times.filter((time) => performance.now() - time < withinMs);
    return this.#times.length;
  }

  get isLoop(): boolean {
    return this.count > this.#policy.giveUpAfter.restarts;
  }

  add(): void {
    this.#times.push(performance.now());
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
    return Math.min(maxMs, initialMs * factor ** (count - 2)) * (1 - JITTER * Math.random());
  }
}

const LOG_TAIL_LINES = 20;

const log = debugLog('supervisor');

export function crashLoopError(
  { name, logFile }: CompleteSpec,
  { restarts, withinMs, lastError }: { restarts: number; withinMs: number; lastError: unknown },
): CrashLoopError {
  const last = lastError === undefined ? '' : `; the last start: ${errorText(lastError)}`;
  const message = `Gave up on ${name}: it went down again after ${restarts} restarts within ${withinMs} ms${last}. See "${logFile}"`;
  return new CrashLoopError(message, {
    restarts,
    lastError,
    cause: lastError,
    logTail: readLogTail(logFile, LOG_TAIL_LINES),
  });
}

/** What has lost its lock file is alive although the lock is free. */
export async function leaveNothing(spec: CompleteSpec): Promise<void> {
  try {
    await endLost(spec);
  } catch (error) {
    log('%s cannot be ended: %s', spec.name, errorText(error));
  }
}
