/**
 * Is this start still wanted? It remembers the end of the journal at its call: a stop() beyond that ends it. A restart() ends
 * nobody's start: the server is ended, and the start contends again.
 */

import { journalOf } from '../state/journal.js';
import type { JournalState, Place } from '../state/journal-state.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { debugLog } from '../support/debug.js';
import { errorText, StoppedError } from '../support/errors.js';
import { processTable } from '../system/process-table.js';

const log = debugLog('start');

/** A restart() began while this start was under way: what it spawned is given up, and it contends again. */
export class RestartUnderWay extends Error {}

export interface WantedOptions {
  signal?: AbortSignal | undefined;
  /** What the start remembers: a stop() at this place or beyond it ends the start. */
  place: Place;
}

/**
 * What a start() remembers at its call: the end of the journal, which is made when it is missing. A journal that can be
 * neither made nor read is met again by the start that wins the lock.
 */
export function placeOfCall(spec: CompleteSpec): Place {
  const journal = journalOf(spec);
  try {
    journal.create();
    return journal.read().endPlace;
  } catch (error) {
    log('%s', errorText(error));
    return { id: '', offset: 0 };
  }
}

export class StillWanted {
  readonly #spec: CompleteSpec;
  readonly #signal: AbortSignal | undefined;
  readonly #place: Place;

  constructor(spec: CompleteSpec, { signal, place }: WantedOptions) {
    this.#spec = spec;
    this.#signal = signal;
    this.#place = place;
  }

  /** While contending. @throws StoppedError | StateFileError; the signal's reason */
  check(): JournalState {
    this.#signal?.throwIfAborted();
    const state = journalOf(this.#spec).read();
    this.#refuse(state);
    return state;
  }

  /**
   * The first act under the process's lock: from here on it is wanted. @returns 'in use' when a stop() or restart() is at
   * work: it needs the process's lock
   * @throws StoppedError | StateFileError
   */
  begin(): 'begun' | 'in use' {
    const { startKey } = processTable().lookUp(process.pid) ?? {};
    const journal = journalOf(this.#spec);
    return journal.exclusively((state) => {
      this.#refuse(state);
      journal.begin(state, { startKey });
      return 'begun' as const;
    });
  }

  /** Under the lock, after `begin()`. @throws StoppedError | RestartUnderWay | StateFileError; the signal's reason */
  guard(): void {
    if (this.check().isPending) throw new RestartUnderWay();
  }

  #refuse(state: JournalState): void {
    if (state.isStoppedSince(this.#place)) {
      throw new StoppedError(`${this.#spec.name} was stopped while it was being started`);
    }
  }
}
