/**
 * Is this start still wanted? It knows the mark that it found at its call; any other one that it meets is a later stop() and
 * ends it. A restart's mark ends nobody's start: it is waited for like a stop that was there before.
 */
import { clearMark, isKnownMark } from '../state/down-mark.js';
import { type Mark, readMark, readPastMark } from '../state/mark-file.js';
import { besideLockFile, type CompleteSpec } from '../state/process-spec.js';
import { errorText, StoppedError, spawnError } from '../support/errors.js';

/** A restart() began while this start was under way: what it spawned is given up, and it contends again. */
export class RestartUnderWay extends Error {}

export interface WantedOptions {
  signal?: AbortSignal | undefined;
  /** The mark of the restart whose second half this start is, or of the stop that it is to undo. */
  known?: Mark | undefined;
  /** Any other stop's mark ends this start even when it was there before: for supervisors, which never undo one that came after them. */
  respectMarks?: boolean | undefined;
}

export class Wanted {
  readonly markFile: string;
  readonly #spec: CompleteSpec;
  readonly #signal: AbortSignal | undefined;
  #known: Mark | undefined;
  /** Stops that came before this start, known from their marks, cleared or not. */
  readonly #formerStops: Set<string | undefined>;

  constructor(spec: CompleteSpec, { signal, known, respectMarks = false }: WantedOptions) {
    this.#spec = spec;
    this.#signal = signal;
    this.markFile = besideLockFile(spec, 'down');
    this.#known = known ?? (respectMarks ? undefined : this.#read());
    this.#formerStops = new Set([undefined, this.#readPast(), this.#known?.generation]);
  }

  /**
   * While contending. @returns true when a known mark is there: a stop that began before this start
   * @throws StoppedError | SpawnError; the signal's reason
   */
  isMarked(): boolean {
    this.#signal?.throwIfAborted();
    const mark = this.#read();
    if (mark === undefined) return this.#refuseUndoneStop();
    if (!isKnownMark(mark, this.#known)) throw this.#stoppedError();
    this.#known = mark;
    return true;
  }

  /** The first act under the process's lock. @throws StoppedError | SpawnError */
  clear(): 'cleared' | 'in use' {
    const outcome = this.#wrapped('remove', () => clearMark(this.markFile, this.#known));
    if (outcome === 'changed') throw this.#stoppedError();
    if (outcome === 'cleared') this.#known = undefined;
    return outcome;
  }

  /** Under the lock, after `clear()`: whatever mark is there now came later. @throws StoppedError | RestartUnderWay; the signal's reason */
  guard(): void {
    this.#signal?.throwIfAborted();
    const mark = this.#read();
    if (mark === undefined) {
      this.#refuseUndoneStop();
      return;
    }
    if (!mark.isRestart) throw this.#stoppedError();
    throw new RestartUnderWay();
  }

  /** A stop came, and another start undid it, between two looks: to this start it is a later stop all the same. */
  #refuseUndoneStop(): false {
    if (!this.#formerStops.has(this.#readPast())) throw this.#stoppedError();
    return false;
  }

  #readPast(): string | undefined {
    return this.#wrapped('examine', () => readPastMark(this.markFile));
  }

  #read(): Mark | undefined {
    return this.#wrapped('examine', () => readMark(this.markFile));
  }

  #wrapped<T>(verb: string, act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw spawnError(this.#spec, `cannot ${verb} "${this.markFile}": ${errorText(error)}`, error);
    }
  }

  #stoppedError(): StoppedError {
    return new StoppedError(`${this.#spec.name} was stopped while it was being started`);
  }
}
