/** One look at what is wanted and what is: the journal, and the lock. Some 20 µs. */
import { isLocked } from '../lock/file-lock.js';
import { journalOf } from '../state/journal.js';
import type { JournalState, Place } from '../state/journal-state.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { debugLog } from '../support/debug.js';
import { errorText } from '../support/errors.js';
import type { Sight } from './policy.js';

const log = debugLog('supervisor');

export class Observer {
  readonly #spec: CompleteSpec;
  readonly #undoneUntil: Place;

  /** @param undoneUntil stops before this place count no more, although no start has undone them yet */
  constructor(spec: CompleteSpec, undoneUntil: Place) {
    this.#spec = spec;
    this.#undoneUntil = undoneUntil;
  }

  /** What a start remembers that undoes what this supervision undoes, and no stop that came later; undefined: it is not wanted. */
  placeIfWanted(): Place | undefined {
    const state = journalOf(this.#spec).read();
    return this.#isWanted(state) ? state.endPlace : undefined;
  }

  look(): Exclude<Sight, 'sick'> {
    const journal = journalOf(this.#spec);
    try {
      const isHeld = isLocked(this.#spec.lockFile);
      // Read after the lock was asked for: a stop that came in between is the reason why it is free.
      const state = journal.read();
      if (!this.#isWanted(state)) return 'stopped';
      if (isHeld) return 'held';
      return state.isRestarting ? 'restarting' : 'free';
    } catch (error) {
      log('%s cannot be observed: %s', this.#spec.name, errorText(error));
      return 'unseen';
    }
  }

  #isWanted(state: JournalState): boolean {
    return state.isWanted || !state.isStoppedSince(this.#undoneUntil);
  }
}
