/**
 * NAME.journal: what happened to the process, one JSON line an event, appended with one write. Whether it is wanted, and who
 * it is, follows from the lines alone (journal-state.ts).
 *
 * The locks on it say who is at work. A stop() or restart() has LOCK_SH until the process is down; the start() that won the
 * process's lock takes LOCK_EX for a moment.
 */

import { debugLog } from '../support/debug.js';
import { errorCode, errorText, type StateFileError } from '../support/errors.js';
import { systemTimeText } from '../support/globals.js';
import {
  appendToJournal,
  createJournal,
  headLine,
  journalError,
  lineOf,
  lockJournal,
  READ_BYTES,
  randomWord,
  readJournal,
  replaceJournal,
  type Seen,
  tryLockJournal,
} from './journal-file.js';
import { type JournalEventName, JournalState, type Place } from './journal-state.js';
import { besideLockFile, type CompleteSpec } from './process-spec.js';

const log = debugLog('journal');

/** A journal over this size is trimmed by the next start. */
const TRIM_OVER_BYTES = 1024 * 1024;

/** What is left of it. */
const KEPT_LINES = 200;

/** Places go on so far beyond the old end: what others wrote into the old file meanwhile lies before every new line. */
const PLACES_GAP = 1024 * 1024;

/** Whoever has LOCK_EX on a journal appends a line: microseconds, unless it is suspended in between. */
const SHARED_WAIT_MS = 1_000;

/** LOCK_SH that is still there after so long is a stop at work, not somebody's attempt. */
const AT_WORK_AFTER_MS = 10;

/** Lines that only tell. A day of short supervisions of one process makes 256 KiB of them. */
const UNCOUNTED: readonly JournalEventName[] = ['supervise', 'unsupervise', 'crash', 'give-up'];

/** What a file of another user, or no regular file, is met with; the latter has no code. */
const UNREADABLE = ['EACCES', 'EPERM', 'ELOOP', 'ENXIO', undefined];

const NOTHING = new JournalState('', [], { end: 0, isTrusted: false });

const journals = new WeakMap<object, Journal>();

/** The journal of this spec: one object, so that nothing is read twice. */
export function journalOf(spec: Pick<CompleteSpec, 'lockFile'>): Journal {
  const journal = journals.get(spec) ?? new Journal(besideLockFile(spec, 'journal'));
  journals.set(spec, journal);
  return journal;
}

/** A stop() or restart() at work on its line. */
export interface JournalWork {
  readonly place: Place;
  readonly isRewritten: boolean;
  /** Idempotent. */
  release(): void;
}

type Fields = Readonly<Record<string, unknown>>;

/** Stops and restarts of this process that do not have LOCK_SH yet, each with the path of its journal. */
const unsettled = new Map<Promise<JournalWork>, string>();

export class Journal {
  readonly path: string;
  #seen: Seen | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** What the lines add up to now; nothing when there is no journal. @throws StateFileError when it cannot be read */
  read(): JournalState {
    this.#seen = readJournal(this.path, this.#seen);
    return this.#seen?.state ?? NOTHING;
  }

  /**
   * As read(), for who holds the lock and what to report: a journal that this user may not read, or something else in its
   * place, says as little as none.
   * @throws the system's error when it cannot be read for want of something of our own (EMFILE, …)
   */
  readIfReadable(): JournalState {
    try {
      return this.read();
    } catch (error) {
      const { cause } = error as StateFileError;
      if (!UNREADABLE.includes(errorCode(cause))) throw cause;
      log('%s', errorText(error));
      return NOTHING;
    }
  }

  /** Make it when it is missing. @throws StateFileError */
  create(): void {
    createJournal(this.path);
  }

  /** Append one line to a journal that is there. @throws StateFileError when it cannot be written whole */
  append(event: JournalEventName, fields: Fields = {}): void {
    appendToJournal(this.path, newLine(event, fields));
    log('%s: %s (PID %d)', this.path, event, process.pid);
  }

  /** As append(); a journal that cannot be written is a line in the log. */
  note(event: JournalEventName, fields: Fields = {}): void {
    try {
      if (UNCOUNTED.includes(event) && this.#isCrowded()) return;
      this.append(event, fields);
    } catch (error) {
      log('%s', errorText(error));
    }
  }

  /** Is so much behind the last `start` that more would push this line, or a stop, out of what readers take? */
  #isCrowded(): boolean {
    const state = this.read();
    return state.end - (state.last('start')?.place ?? 0) > READ_BYTES / 2;
  }

  /**
   * Append a line in the turn of the call, then take LOCK_SH, until `release()`: a stop() or restart() is at work on it. The
   * line is written again at the end when trimming has cut it off, or when it went into a file that was replaced at that
   * moment; it counts from there.
   * @throws StateFileError
   */
  async workOn(event: 'stop' | 'restart'): Promise<JournalWork> {
    const token = randomWord();
    this.append(event, { token });
    const settled = this.#settle(event, token);
    unsettled.set(settled, this.path);
    try {
      return await settled;
    } finally {
      unsettled.delete(settled);
    }
  }

  /**
   * Resolves when the lines that this process wrote before are settled. @returns where those stand that had to be written
   * again: they are older than they look
   */
  async earlierLines(): Promise<Place[]> {
    const ours = Array.from(unsettled).flatMap(([settled, path]) => (path === this.path ? settled : []));
    const works = await Promise.allSettled(ours);
    return works.flatMap((work) => (work.status === 'fulfilled' && work.value.isRewritten ? work.value.place : []));
  }

  async #settle(event: JournalEventName, token: string): Promise<JournalWork> {
    const { release } = await this.holdShared();
    try {
      const find = () => this.read().lines.findLast((line) => line.token === token)?.place;
      const found = find();
      if (found === undefined) this.append(event, { token });
      const { id, offset: end } = this.read().endPlace;
      return { place: { id, offset: found ?? find() ?? end }, isRewritten: found === undefined, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * Decide in one turn, under LOCK_EX: nobody else's stop, restart or start does anything meanwhile.
   * @returns 'in use' when a stop() or restart() is at work
   * @throws StateFileError, what `act` throws
   */
  exclusively<T>(act: (state: JournalState) => T): T | 'in use' {
    this.create();
    const release = tryLockJournal(this.path, 'ex');
    if (release === undefined) return 'in use';
    try {
      return act(this.read());
    } finally {
      release();
    }
  }

  /** Under LOCK_EX: the `start` line of the start that won the process's lock. It undoes what was read so far. @throws StateFileError */
  begin(state: JournalState, fields: Fields): void {
    const start = { ...fields, undoes: state.endPlace };
    const isTrimmed = (this.#seen?.size ?? 0) > TRIM_OVER_BYTES && this.#trim(state, newLine('start', start));
    if (!isTrimmed) this.append('start', start);
  }

  /**
   * The new file is complete before it is there: first line, copied lines, and the trimmer's `start`.
   * @returns false when there is no room for it, say, or it is somebody else's: then the journal stays as it is
   */
  #trim(state: JournalState, start: string): boolean {
    try {
      const copied = state.lines.slice(-KEPT_LINES).map(lineOf);
      // What still counts is in the first line, too: there it is read however much is written behind it.
      const head = headLine(state.id, state.end + PLACES_GAP, state.counting);
      replaceJournal(this.path, [head, ...copied, start].join(''));
      log('%s: start, and trimmed (PID %d)', this.path, process.pid);
      return true;
    } catch (error) {
      log('%s', errorText(error));
      return false;
    }
  }

  /** Is a stop() or restart() at work at this instant? @throws StateFileError */
  async isStopAtWork(): Promise<boolean> {
    const release = await lockJournal(this.path, 'ex', AT_WORK_AFTER_MS);
    release?.();
    return release === undefined;
  }

  /** LOCK_SH, to take part in a stop whose line somebody else wrote. @throws StateFileError */
  async holdShared(): Promise<{ release(): void }> {
    const release = await lockJournal(this.path, 'sh', SHARED_WAIT_MS);
    if (release === undefined) throw journalError(this.path, 'lock', 'another process keeps it locked');
    return { release };
  }
}

function newLine(event: JournalEventName, fields: Fields): string {
  return lineOf({ at: systemTimeText(), event, by: process.pid, ...fields });
}
