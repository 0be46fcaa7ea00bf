/**
 * Is this start still wanted? It remembers the end of the journal at its call: a stop() beyond that ends it. A restart() ends
 * nobody's start: the server is ended, and the start contends again.
 */

import { journalOf } from '../state/journal.js';
import type { JournalState, Place } from '../state/journal-state.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { debugLog } from '../support/debug.js';
import { errorText, isOwnLimit, type StateFileError, StoppedError } from '../support/errors.js';
import { processTable } from '../system/process-table.js';

const log = debugLog('start');

/** Thrown by a start that has to give the lock back and contend once more; what it spawned is ended. */
export class ContendAgain extends Error {}

export interface WantedOptions {
  signal?: AbortSignal | undefined;
  /** What the start remembers: a stop() at this place or beyond it ends the start. */
  place: Place;
}

/**
 * What a start() remembers at its call: the end of the journal, which is made when it is missing. A journal that can be
 * neither made nor read is met again by the start that wins the lock.
 * @throws StateFileError for want of something of our own, such as a descriptor: that says nothing of the journal
 */
export function placeOfCall(spec: CompleteSpec): Place {
  const journal = journalOf(spec);
  try {
    journal.create();
    return journal.read().endPlace;
  } catch (error) {
    if (isOwnLimit((error as StateFileError).cause)) throw error;
    log('%s', errorText(error));
    return { id: '', offset: 0 };
  }
}

/** While contending. @throws StoppedError | StateFileError; the signal's reason */
export function checkWanted(spec: CompleteSpec, { signal, place }: WantedOptions): JournalState {
  signal?.throwIfAborted();
  const state = journalOf(spec).read();
  refuseStopped(spec, state, place);
  return state;
}

/** Under the lock, after `beginStart()`. @throws StoppedError | StateFileError; ContendAgain after a restart(); the signal's reason */
export function guardStart(spec: CompleteSpec, options: WantedOptions): void {
  if (checkWanted(spec, options).isPending) throw new ContendAgain();
}

/**
 * The first act under the process's lock: from here on it is wanted.
 * @throws StoppedError | StateFileError; ContendAgain when a stop() or restart() is at work, which needs that lock
 */
export function beginStart(spec: CompleteSpec, { place }: WantedOptions): void {
  const { startKey } = processTable().lookUp(process.pid) ?? {};
  const journal = journalOf(spec);
  const result = journal.exclusively((state) => {
    refuseStopped(spec, state, place);
    journal.begin(state, { startKey });
  });
  if (result === 'in use') throw new ContendAgain();
}

function refuseStopped({ name }: CompleteSpec, state: JournalState, place: Place): void {
  if (state.isStoppedSince(place)) throw new StoppedError(`${name} was stopped while it was being started`);
}
