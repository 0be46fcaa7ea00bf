/** How often it crashed lately, and so how long to wait before the next restart, or whether to give up. */

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
