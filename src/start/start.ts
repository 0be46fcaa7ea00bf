/**
 * Makes sure that the process runs. Starts contend for the lock: the winner launches the process, or becomes it; a
 * loser waits until the winner's process is ready, or is refused.
 * A process that is to be ended (the journal has a stop, restart or abandon pending) is never reused: a start waits for
 * its end, or ends it when the process that was ending it has died.
 */

import { identify, isSeenHeld, patienceWith } from '../inspect/holder.js';
import { tryAcquireLock } from '../lock/file-lock.js';
import { type FileLock, LOCK_FD } from '../lock/held-lock.js';
import { isLocked } from '../lock/questions.js';
import { journalOf } from '../state/journal.js';
import type { Place } from '../state/journal-state.js';
import { removePidFile, writePidFile } from '../state/pid-file.js';
import type { CompleteSpec, Instance } from '../state/process-spec.js';
import { becoming } from '../stop/stop.js';
import { Deadline, Pace, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import {
  errorText,
  isOwnLimit,
  LockHeldError,
  type StateFileError,
  textOfPids,
  UnhealthyError,
} from '../support/errors.js';
import { now } from '../support/globals.js';
import { lookUpChild, processTable } from '../system/process-table.js';
import { type Contest, join, LOOK_EVERY_MS, waitForStopAtWork } from './join.js';
import { type Announce, begin, ContendAgain, checkWanted, giveBack, launch, type StartOptions } from './launch.js';
import { refusePredecessor } from './port-lock.js';
import { appendSpawn } from './spawn.js';
import { refuseSharedLock } from './wait-until-ready.js';

const log = debugLog('start');

type Handle = { ready(): void; release(): void; [Symbol.dispose](): void };

type Win<T> = (spec: CompleteSpec, lock: FileLock, contest: Contest) => Promise<T>;

/** The end of the journal, which a start() remembers at its call: a stop() at or beyond that place ends the start. */
export function placeOfCall(spec: CompleteSpec): Place {
  const journal = journalOf(spec);
  try {
    journal.create();
    return journal.read().endPlace;
  } catch (error) {
    // A limit of this process (EMFILE, say) proves nothing about the journal.
    if (isOwnLimit((error as StateFileError).cause)) throw error;
    // The start that wins the lock meets this error again, and throws it.
    log('%s', errorText(error));
    return { id: '', offset: 0 };
  }
}

export async function start(spec: CompleteSpec, options: StartOptions): Promise<Instance> {
  return await contend(spec, options, launch, join);
}

/** @param lose called again and again while another holder has the lock, until it resolves with a result */
async function contend<T>(
  spec: CompleteSpec,
  options: StartOptions,
  win: Win<T>,
  lose: (contest: Contest) => Promise<T | undefined>,
): Promise<T> {
  let { place } = options;
  for (const { id, offset } of await journalOf(spec).earlierLines()) {
    // A stop() that this process called before this start must not end it, although its line was written again later.
    if (offset >= place.offset) place = { id, offset: offset + 1 };
  }
  const contest = contestOf(spec, { ...options, place });
  const pace = new Pace({ maxMs: 25 });
  for (;;) {
    const won = isSeenHeld(spec) ? undefined : await tryToWin(contest, win);
    const result = won ?? (await lose(contest));
    if (result !== undefined) return result;
    await pace.wait({ signal: options.signal });
  }
}

/** A start that does not wait, for a supervisor. Undefined when another holder has the lock. */
export async function startIfFree(spec: CompleteSpec, options: StartOptions): Promise<Instance | undefined> {
  const instance = await tryToWin(contestOf(spec, options), launch);
  if (instance === undefined && !isLocked(spec.lockFile)) refuseSharedLock(spec);
  return instance;
}

function contestOf(spec: CompleteSpec, options: StartOptions): Contest {
  let told = '';
  // A start looks again and again: `waiting` is emitted only when what it waits for has changed.
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

async function tryToWin<T>(contest: Contest, win: Win<T>): Promise<T | undefined> {
  const { spec, signal } = contest;
  const pace = new Pace({ maxMs: 25 });
  for (;;) {
    throwIfAborted(signal);
    const lock = tryAcquireLock(spec.lockFile);
    if (lock === undefined) return undefined;
    try {
      return await win(spec, lock, contest);
    } catch (error) {
      if (!(error instanceof ContendAgain)) throw error;
    }
    await waitForStopAtWork(contest);
    await pace.wait({ signal });
  }
}

/** Makes this very process the managed one: it takes and keeps the lock, and names itself in the journal. */
export async function become(spec: CompleteSpec, options: StartOptions): Promise<Handle> {
  const nothing = () => undefined;
  const isSpawned = processTable().carries(process.pid, LOCK_FD, spec.lockFile) === true;
  if (isSpawned) return { ready: nothing, release: nothing, [Symbol.dispose]: nothing };
  return await contend(spec, { ...options, isBecoming: true }, takeLock, refuse);
}

/** Waits while the process is being ended or started. @throws LockHeldError when it runs */
async function refuse(contest: Contest): Promise<undefined> {
  const { spec } = contest;
  const refuseHeld = (cause?: unknown) => {
    const path = spec.lockFile;
    const who = textOfPids(identify(spec).members.map(({ pid }) => pid));
    const message = `Cannot become ${spec.name}: it runs already, lock "${path}" is held by ${who}`;
    throw new LockHeldError(message, { path, cause });
  };
  if (identify(spec).kind === 'process' && !checkWanted(spec, contest).isPending) refuseHeld();
  await join(contest).catch((error) => {
    if (error instanceof UnhealthyError) refuseHeld(error);
    throw error;
  });
}

async function takeLock(spec: CompleteSpec, lock: FileLock, options: StartOptions): Promise<Handle> {
  const began = now();
  const journal = journalOf(spec);
  try {
    const self = lookUpChild(process.pid);
    const { pid, startKey } = self;
    const guard = await begin(spec, lock, options);
    await refusePredecessor(spec, { signal: options.signal, guard });
    guard();
    if (!lock.isIntact()) throw new ContendAgain();
    removePidFile(spec.pidFile, pid);
    appendSpawn(spec, self, { lifetime: 'detached' }, lock.fd);
    writePidFile(spec, self);
    let isReady = false;
    const ready = () => {
      if (isReady || !lock.held) return;
      journal.append('ready', { pid, tookMs: Math.round(now() - began), port: spec.port });
      isReady = true;
    };
    const release = () => {
      if (!lock.held) return;
      becoming.delete(spec.lockFile);
      // From here on the journal names nobody, although this process lives.
      journal.note('exit', { pid, startKey, exitCode: 0, signal: null });
      try {
        if (lock.isIntact()) removePidFile(spec.pidFile, pid);
      } finally {
        giveBack(lock);
      }
    };
    becoming.set(spec.lockFile, release);
    return { ready, release, [Symbol.dispose]: release };
  } catch (error) {
    giveBack(lock);
    throw error;
  }
}
