/** Time limits on the monotonic clock: a wall clock that is set back or forth neither shortens nor stretches them. */
import { once } from 'node:events';
import { clearTimeout, newAbort, now, random, setImmediate, setTimeout } from './globals.js';

/** setTimeout() treats a delay above 2^31 − 1 ms as 1 ms. */
const MAX_TIMER_MS = 0x7fffffff;

/** Whoever waits asks when the time is over: one who asks so much later was kept from running. */
const LATE_MS = 250;

/** What that one has for a look more, unless the whole time is shorter. */
const ONE_LOOK_MS = 2_000;

/**
 * A process that did not run (a blocked event loop, SIGSTOP, a stalled machine) knows nothing of what came meanwhile: when it
 * first asks long after the end, the time is over only after one fair look more.
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

  /** For who can be sure of the last look: it has no time for one more. */
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
 * One listener on a signal, however many wait for it: a program gives the one of its own end to hundreds of calls, and Node
 * warns of more than ten.
 * @returns to be called when this one waits no more
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

/** The signal of a polyfill, or of an older jsdom, has no reason, and no `throwIfAborted` either. */
function reasonOf({ reason }: AbortSignal): unknown {
  if (reason !== undefined) return reason;
  return Object.assign(new Error('This operation was aborted'), { name: 'AbortError', code: 'ABORT_ERR' });
}

/** @throws the signal's reason, as soon as it is aborted */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  await new Promise<void>((resolve) => {
    // Node hears its sockets and children only when no timer is due. Of two loops whose looks take longer than their sleeps one
    // always is: the whole process would hear nothing until they end.
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

/** `clear` is to be called when nobody waits for the signal any more. */
export type LinkedSignal = { signal: AbortSignal; clear(): void };

/**
 * Aborted with any of these. Not AbortSignal.any(): that refuses signals of another realm, as under jsdom, and what waits on a
 * signal that lives for long would gather.
 */
export function linkSignals(...sources: readonly (AbortSignal | undefined)[]): LinkedSignal {
  const linked = newAbort();
  const abort = () => {
    const aborted = sources.find((source) => source?.aborted);
    if (aborted !== undefined) linked.abort(aborted.reason);
  };
  abort();
  const forget = sources.map((source) => onAbort(source, abort));
  const clear = () => {
    for (const each of forget) each();
  };
  return { signal: linked.signal, clear };
}

/**
 * Aborted after so many milliseconds, or with the given signal. When this process was kept from running, answers that came
 * meanwhile are heard before the time is over, and there is time for one more.
 */
export function abortAfter(ms: number, signal?: AbortSignal): LinkedSignal {
  const deadline = Deadline.after(ms);
  const over = newAbort();
  const linked = linkSignals(over.signal, signal);
  let timer: NodeJS.Timeout | undefined;
  let isCleared = false;
  // Not AbortSignal.timeout(): that would not keep the process alive while somebody waits for it.
  const wait = () => {
    timer = setTimeout(() => setImmediate(look), Math.min(deadline.remainingMs, MAX_TIMER_MS));
  };
  const look = () => {
    if (isCleared) return;
    if (deadline.isOver) over.abort(new Error(`no answer within ${ms} ms`));
    else wait();
  };
  const clear = () => {
    isCleared = true;
    clearTimeout(timer);
    linked.clear();
  };
  wait();
  return { signal: linked.signal, clear };
}

/** Rejects with the signal's reason, for a race with what does not listen to it. */
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

  /** @param growth each step to the one before; with 1.25 what is waited for is seen a seventh later on average, half at most */
  constructor({ firstMs = 1, maxMs = 20, growth = 2 }: { firstMs?: number; maxMs?: number; growth?: number } = {}) {
    this.#nextMs = firstMs;
    this.#maxMs = maxMs;
    this.#growth = growth;
  }

  /** @throws the signal's reason, as soon as it is aborted */
  async wait({ deadline, signal }: { deadline?: Deadline; signal?: AbortSignal | undefined } = {}): Promise<void> {
    const ms = this.#nextMs * (0.5 + random() / 2);
    this.#nextMs = Math.min(this.#nextMs * this.#growth, this.#maxMs);
    await sleep(Math.min(ms, deadline?.remainingMs ?? Number.POSITIVE_INFINITY), signal);
  }
}

/**
 * Asks until the answer is neither false nor undefined, the first time at once.
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

/** A wait that can be cut short. Who rings while nobody waits cuts the next wait short. */
export class Alarm {
  #bell = newAbort();

  ring(): void {
    this.#bell.abort();
  }

  /** Until it rings, and no longer than so many milliseconds. */
  async wait(ms: number): Promise<void> {
    await sleep(ms, this.#bell.signal).catch(() => undefined); // It rang.
    this.#bell = newAbort();
  }
}
