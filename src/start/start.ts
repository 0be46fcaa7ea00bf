/**
 * Make sure it runs: contend for the lock; who wins launches, who loses waits for the winner's process to be ready.
 * A process that is to be ended (the journal has a stop, restart or abandon pending) is never reused: its end is waited for,
 * or brought about when whoever was at it has died.
 */

import { isSeenHeld, patienceWith } from '../inspect/holder.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { isLocked } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import type { Place } from '../state/journal-state.js';
import type { CompleteSpec, Instance } from '../state/process-spec.js';
import { Deadline, Pace, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, isOwnLimit, type StateFileError } from '../support/errors.js';
import { type Contest, join, LOOK_EVERY_MS, refuseSharedLock, waitForStopAtWork } from './join.js';
import { type Announce, ContendAgain, launch, type StartOptions } from './launch.js';

const log = debugLog('start');

/** What a start() remembers at its call: the end of the journal. */
export function placeOfCall(spec: CompleteSpec): Place {
  const journal = journalOf(spec);
  try {
    journal.create();
    return journal.read().endPlace;
  } catch (error) {
    // That says nothing of the journal.
    if (isOwnLimit((error as StateFileError).cause)) throw error;
    // It is met again by the start that wins the lock.
    log('%s', errorText(error));
    return { id: '', offset: 0 };
  }
}

export async function start(spec: CompleteSpec, options: StartOptions): Promise<Instance> {
  let { place } = options;
  for (const { id, offset } of await journalOf(spec).earlierLines()) {
    // A stop() that this process called before, and whose line was written again, does not end this start.
    if (offset >= place.offset) place = { id, offset: offset + 1 };
  }
  const contest = contestOf(spec, { ...options, place });
  const pace = new Pace({ maxMs: 25 });
  for (;;) {
    const launched = isSeenHeld(spec) ? undefined : await tryLaunch(contest);
    const instance = launched ?? (await join(contest));
    if (instance !== undefined) return instance;
    await pace.wait({ signal: options.signal });
  }
}

/** For a supervisor: undefined when somebody else has the lock. */
export async function startIfFree(spec: CompleteSpec, options: StartOptions): Promise<Instance | undefined> {
  const instance = await tryLaunch(contestOf(spec, options));
  if (instance === undefined && !isLocked(spec.lockFile)) refuseSharedLock(spec);
  return instance;
}

function contestOf(spec: CompleteSpec, options: StartOptions): Contest {
  let told = '';
  // It looks again and again: what it waits for is told when that changes.
  const announce: Announce = (name, ...values) => {
    const text = JSON.stringify([name, values]);
    if (name !== 'waiting' || text !== told) options.announce(name, ...values);
    told = text;
  };
  const deadline = Deadline.after(spec.startTimeoutMs);
  return {
    ...options,
    announce,
    spec,
    deadline,
    nextLook: Deadline.after(LOOK_EVERY_MS),
    patience: patienceWith(spec),
  };
}

async function tryLaunch(contest: Contest): Promise<Instance | undefined> {
  const { spec, signal } = contest;
  const pace = new Pace({ maxMs: 25 });
  for (;;) {
    throwIfAborted(signal);
    const lock = tryAcquireLock(spec.lockFile);
    if (lock === undefined) return undefined;
    try {
      return await launch(spec, lock, contest);
    } catch (error) {
      if (!(error instanceof ContendAgain)) throw error;
    }
    await waitForStopAtWork(contest);
    await pace.wait({ signal });
  }
}
