/** Time limits on the monotonic clock: a wall clock that is set back or forth neither shortens nor stretches them. */
import { once } from 'node:events';
import { clearTimeout, newAbort, now, random, setImmediate, setTimeout } from './globals.js';

/** setTimeout() treats a delay above 2^31 − 1 ms as 1 ms. */
const MAX_TIMER_MS = 0x7fffffff;

/** A process that asks this much after the end of its time was kept from running. */
const LATE_MS = 250;

/** By how much the time of such a process is extended, unless the whole time is shorter. */
const ONE_LOOK_MS = 2_000;

/**
 * A time limit that allows for a process that did not run (a blocked event loop, SIGSTOP, a stalled machine). Such a
 * process has not seen what happened meanwhile: when it first asks long after the end, it gets time for one more check.
 */
export class Deadline {
  readonly #lookMs: number;
  #end: number;
  #isStretched = false;

  private constructor(end: number, ms: number) {
    this.#end = end;
    this.#lookMs = Math.min(ms, ONE_LOOK_MS);
  }

  /** `Infinity` never ends, 0 is over at once. */
  static after(ms: number): Deadline {
    return new Deadline(now() + ms, ms);
  }

  /** For a caller that can rely on its last check: it gets no time for another one. */
  static exactly(ms: number): Deadline {
    return new Deadline(now() + ms, 0);
  }

  get remainingMs(): number {
    if (now() - this.#end > LATE_MS && !this.#isStretched) {
      this.#isStretched = true;
      this.#end = now() + this.#lookMs;
    }
    return Math.max(0, this.#end - now());
  }

  extendedBy(ms: number): Deadline {
    return new Deadline(this.#end + ms, this.#lookMs);
  }

  get isOver(): boolean {
    return this.remainingMs === 0;
  }
}

class Waiters {
  readonly acts = new Set<() => void>();
  readonly tell = () => {
    for (const act of [...this.acts]) act();
  };
}

const waiters = new WeakMap<AbortSignal, Waiters>();

/**
 * Calls `act` when the signal is aborted. The signal gets one listener, however many callers wait for it: a program
 * passes its own shutdown signal to hundreds of calls, and Node warns of more than ten listeners.
 * @returns a function that withdraws `act`
 */
export function onAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal === undefined) return () => undefined;
  const { acts, tell } = waiters.get(signal) ?? new Waiters();
  if (!waiters.has(signal)) waiters.set(signal, { acts, tell });
  if (acts.size === 0) signal.addEventListener('abort', tell);
  acts.add(act);
  return () => {
    if (acts.delete(act) && acts.size === 0) signal.removeEventListener('abort', tell);
  };
}

/** @throws the signal's reason */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}

/** The signal of a polyfill, or of an older jsdom, has neither a reason nor `throwIfAborted`. */
function reasonOf({ reason }: AbortSignal): unknown {
  if (reason !== undefined) return reason;
  return Object.assign(new Error('This operation was aborted'), { name: 'AbortError', code: 'ABORT_ERR' });
}

/** @throws the signal's reason, as soon as it is aborted */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  await new Promise<void>((resolve) => {
    // Node reads its sockets and learns of the ends of its children only when no timer is due. With two loops whose
    // checks take longer than their sleeps a timer is always due: the whole process would learn nothing until they end.
    const timer = setTimeout(() => setImmediate(wake), ms);
    const forget = onAbort(signal, wake);
    function wake() {
      clearTimeout(timer);
      forget();
      resolve();
    }
  });
  throwIfAborted(signal);
}

/** `clear` removes the listeners; call it when nobody waits for the signal any more. */
export type LinkedSignal = { signal: AbortSignal; abort(reason: unknown): void; clear(): void };

/**
 * A signal that is aborted as soon as one of the sources is. AbortSignal.any() is no substitute: it refuses signals of
 * another realm, as under jsdom, and its listeners on a long-lived signal would accumulate.
 */
export function linkSignals(...sources: readonly (AbortSignal | undefined)[]): LinkedSignal {
  const linked = newAbort();
  const follow = () => {
    const aborted = sources.find((source) => source?.aborted);
    if (aborted !== undefined) linked.abort(aborted.reason);
  };
  follow();
  const forget = sources.map((source) => onAbort(source, follow));
  const clear = () => {
    for (const each of forget) each();
  };
  return { signal: linked.signal, abort: (reason) => linked.abort(reason), clear };
}

/**
 * A signal that is aborted after so many milliseconds, or with the given signal. When this process was kept from
 * running, answers that came meanwhile are processed before the time is over, and there is time for one more.
 */
export function abortAfter(ms: number, signal?: AbortSignal): LinkedSignal {
  const deadline = Deadline.after(ms);
  const linked = linkSignals(signal);
  let timer: NodeJS.Timeout | undefined;
  let isCleared = false;
  // AbortSignal.timeout() would not keep the process alive while somebody waits for it.
  const wait = () => {
    timer = setTimeout(() => setImmediate(look), Math.min(deadline.remainingMs, MAX_TIMER_MS));
  };
  const look = () => {
    if (isCleared) return;
    if (deadline.isOver) linked.abort(new Error(`no answer within ${Math.ceil(ms)} ms`));
    else wait();
  };
  const clear = () => {
    isCleared = true;
    clearTimeout(timer);
    linked.clear();
  };
  wait();
  return { ...linked, clear };
}

/** Rejects with the signal's reason, for a race with a promise that ignores the signal. */
export function whenAborted(signal: AbortSignal): Promise<never> {
  const aborted = signal.aborted ? Promise.resolve() : once(signal, 'abort');
  const rejected = aborted.then(() => Promise.reject(reasonOf(signal)));
  rejected.catch(() => undefined);
  return rejected;
}

/** A pace for polling: short steps first, then longer ones, with jitter so that pollers do not march in step. */
export class Pace {
  #nextMs: number;
  readonly #maxMs: number;
  readonly #growth: number;
  readonly #bell: Alarm | undefined;

  /**
   * @param growth ratio of one step to the last; at 1.25 an event is seen a seventh later on average, half at most
   * @param bell cuts a step short
   */
  constructor({
    firstMs = 1,
    maxMs = 20,
    growth = 2,
    bell,
  }: { firstMs?: number; maxMs?: number; growth?: number; bell?: Alarm } = {}) {
    this.#nextMs = firstMs;
    this.#maxMs = maxMs;
    this.#growth = growth;
    this.#bell = bell;
  }

  /** @throws the signal's reason, as soon as it is aborted */
  async wait({ deadline, signal }: { deadline?: Deadline; signal?: AbortSignal | undefined } = {}): Promise<void> {
    const ms = this.#nextMs * (0.5 + random() / 2);
    this.#nextMs = Math.min(this.#nextMs * this.#growth, this.#maxMs);
    const stepMs = Math.min(ms, deadline?.remainingMs ?? Number.POSITIVE_INFINITY);
    await (this.#bell?.wait(stepMs, signal) ?? sleep(stepMs, signal));
  }
}

/**
 * Calls `ask` until the answer is neither false nor undefined, the first time at once.
 * @returns that answer, or the last one when the deadline is over
 * @throws the signal's reason, as soon as it is aborted; what `ask` throws
 */
export async function poll<T>(
  ask: () => T | Promise<T>,
  { deadline, signal, pace = new Pace() }: { deadline: Deadline; signal?: AbortSignal | undefined; pace?: Pace },
): Promise<T> {
  for (;;) {
    const answer = await ask();
    if ((answer !== false && answer !== undefined) || deadline.isOver) return answer;
    await pace.wait({ deadline, signal });
  }
}

/** A wait that can be cut short. A ring() while nobody waits cuts the next wait short. */
export class Alarm {
  #bell = newAbort();

  ring(): void {
    this.#bell.abort();
  }

  /**
   * Waits until the alarm rings, and no longer than so many milliseconds.
   * @throws the signal's reason, as soon as it is aborted
   */
  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    const forget = onAbort(signal, () => this.ring());
    await sleep(ms, this.#bell.signal).catch(() => undefined); // The alarm rang.
    forget();
    this.#bell = newAbort();
    throwIfAborted(signal);
  }
}
