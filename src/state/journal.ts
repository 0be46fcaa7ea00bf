/**
 * NAME.journal: what happened to the process, one JSON line an event, appended with one write. Whether it is wanted, and who
 * it is, follows from the lines alone (journal-state.ts).
 *
 * A write begins with a line end, so a torn line swallows no other. Every look opens the file by name, since trimming, which
 * is done under LOCK_EX, puts another file in its place.
 */

import { closeSync, constants, existsSync, linkSync, lstatSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { debugLog } from '../support/debug.js';
import { errorCode, errorText, FlockProcessError, StateFileError } from '../support/errors.js';
import { makeFolders, openRegularFile } from '../support/files.js';
import { headLine, lineOf, READ_BYTES, readSeen, type Seen, writeNewFile, writeWhole } from './journal-file.js';
import { isLockedShared, lockShared, underExclusiveLock } from './journal-lock.js';
import { type JournalEventName, type JournalLine, JournalState, type Place } from './journal-state.js';
import { besideLockFile, type CompleteSpec } from './process-spec.js';

export { type JournalLine, JournalState, type Place } from './journal-state.js';

const log = debugLog('journal');

/** A journal over this size is trimmed by the next start. */
const TRIM_OVER_BYTES = 1024 * 1024;

/** What is left of it. */
const KEPT_LINES = 200;

/** Places go on so far beyond the old end: what others wrote into the old file meanwhile lies before every new line. */
const PLACES_GAP = 1024 * 1024;

/** Lines that only tell. A day of short supervisions of one process makes 256 KiB of them. */
const UNCOUNTED: readonly JournalEventName[] = ['supervise', 'unsupervise', 'crash', 'give-up'];

/** What a file of another user, or no regular file, is met with; the latter has no code. */
const UNREADABLE = ['EACCES', 'EPERM', 'ELOOP', 'ENXIO', undefined];

const NOTHING = new JournalState('', [], { end: 0, isTrusted: false });

const journals = new WeakMap<object, Journal>();

/** The journal of this spec: one object, so that nothing is read twice. */
export function journalOf(spec: Pick<CompleteSpec, 'lockFile'>): Journal {
  let journal = journals.get(spec);
  if (journal === undefined) {
    journal = new Journal(besideLockFile(spec, 'journal'));
    journals.set(spec, journal);
  }
  return journal;
}

/** A line that was just appended, and may have to be written again. */
export interface OwnLine {
  readonly event: JournalEventName;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly token: string;
}

/** A stop() or restart() at work on its line. */
export interface JournalWork {
  readonly place: Place;
  readonly isRewritten: boolean;
  /** Idempotent. */
  release(): void;
}

/** Lines of this process whose writers do not have LOCK_SH yet, by journal. */
const unsettled = new Map<string, Set<Promise<JournalWork>>>();

export class Journal {
  readonly path: string;
  #seen: Seen | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** What the lines add up to now; nothing when there is no journal. @throws StateFileError when it cannot be read */
  read(): JournalState {
    return this.#look()?.state ?? NOTHING;
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

  /** The lines that a reader takes, oldest first. @throws StateFileError when it cannot be read */
  lines(): readonly JournalLine[] {
    return this.#look()?.lines ?? [];
  }

  /** Make it when it is missing, complete from its first instant. @throws StateFileError */
  create(): void {
    this.#asStateFileError('create', () => {
      if (existsSync(this.path)) return;
      const draft = `${this.path}.${process.pid}-${randomWord()}`;
      makeFolders(dirname(this.path));
      try {
        writeNewFile(draft, headLine(randomWord(), 0, []));
        linkSync(draft, this.path);
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
      } finally {
        rmSync(draft, { force: true });
      }
    });
  }

  /** Append one line to a journal that is there. @throws StateFileError when it cannot be written whole */
  append(event: JournalEventName, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#write(lineOf({ at: new Date().toISOString(), event, by: process.pid, ...fields }));
    log('%s: %s (PID %d)', this.path, event, process.pid);
  }

  /** As append(); a journal that cannot be written is a line in the log. */
  note(event: JournalEventName, fields: Readonly<Record<string, unknown>> = {}): void {
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

  /** Append a line that its writer finds again. @throws StateFileError */
  appendOwn(event: JournalEventName, fields: Readonly<Record<string, unknown>> = {}): OwnLine {
    const token = randomWord();
    this.append(event, { ...fields, token });
    return { event, fields, token };
  }

  /**
   * Take LOCK_SH, until `release()`: a stop() or restart() is at work on its line. The line is written again at the end when
   * trimming has cut it off, or when it went into a file that was replaced at that moment; it counts from there.
   * @throws StateFileError
   */
  async workOn(line: OwnLine): Promise<JournalWork> {
    const settled = this.#settle(line);
    const others = unsettled.get(this.path) ?? new Set();
    unsettled.set(this.path, others.add(settled));
    try {
      return await settled;
    } finally {
      others.delete(settled);
    }
  }

  /**
   * Resolves when the lines that this process wrote before are settled. @returns where those stand that had to be written
   * again: they are older than they look
   */
  async earlierLines(): Promise<Place[]> {
    const works = await Promise.allSettled(unsettled.get(this.path) ?? []);
    return works.flatMap((work) => (work.status === 'fulfilled' && work.value.isRewritten ? work.value.place : []));
  }

  async #settle({ event, fields, token }: OwnLine): Promise<JournalWork> {
    const { release } = await this.holdShared();
    try {
      const find = () => this.#look()?.lines.findLast((line) => line.token === token)?.place;
      const found = find();
      if (found === undefined) this.append(event, { ...fields, token });
      const { id, end } = this.read();
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
    const locked = this.#asStateFileError('lock', () =>
      underExclusiveLock(this.path, () => ({ result: act(this.read()) })),
    );
    return locked === undefined ? 'in use' : locked.result;
  }

  /** Under LOCK_EX: the `start` line of the start that won the process's lock. It undoes what was read so far. @throws StateFileError */
  begin(state: JournalState, fields: Readonly<Record<string, unknown>>): void {
    const line = { at: new Date().toISOString(), event: 'start' as const, by: process.pid, ...fields };
    const start = { ...line, undoes: state.endPlace };
    const isTrimmed = (this.#seen?.size ?? 0) > TRIM_OVER_BYTES && this.#trim(start);
    if (!isTrimmed) this.#write(lineOf(start));
    log('%s: start (PID %d)', this.path, process.pid);
  }

  /** Is a stop() or restart() at work at this instant? @throws StateFileError */
  async isStopAtWork(): Promise<boolean> {
    return await this.#asStateFileErrors('lock', () => isLockedShared(this.path));
  }

  /** LOCK_SH, to take part in a stop whose line somebody else wrote. @throws StateFileError */
  async holdShared(): Promise<{ release(): void }> {
    return { release: await this.#asStateFileErrors('lock', () => lockShared(this.path)) };
  }

  #write(text: string): void {
    this.#asStateFileError('write', () => {
      const fd = openRegularFile(this.path, constants.O_WRONLY | constants.O_APPEND);
      try {
        writeWhole(fd, text);
      } finally {
        closeSync(fd);
      }
    });
  }

  /**
   * Under LOCK_EX. The new file is complete before it is there: first line, copied lines, and the trimmer's `start`. It belongs
   * to whom the old one belonged to, with the same mode: what others could have written is not believed more afterwards.
   * @returns false when there is no room for it, say, or it is somebody else's: then the journal stays as it is
   */
  #trim(start: JournalLine): boolean {
    const { state, lines } = this.#look() as Seen;
    const copied = lines.slice(-KEPT_LINES);
    const draft = `${this.path}.new`;
    try {
      // What still counts is in the first line, too: there it is read however much is written behind it.
      const head = headLine(state.id, state.end + PLACES_GAP, state.counting);
      rmSync(draft, { force: true });
      writeNewFile(draft, [head, ...copied.map(lineOf), lineOf(start)].join(''), lstatSync(this.path));
      renameSync(draft, this.path);
      return true;
    } catch (error) {
      log('cannot trim %s: %s', this.path, errorText(error));
      return false;
    }
  }

  /** Undefined when there is none. What was read before is not read again. */
  #look(): Seen | undefined {
    return this.#asStateFileError('read', () => {
      let fd: number;
      try {
        fd = openRegularFile(this.path, constants.O_RDONLY);
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') throw error;
        return undefined;
      }
      try {
        this.#seen = readSeen(fd, this.#seen);
        return this.#seen;
      } finally {
        closeSync(fd);
      }
    });
  }

  #asStateFileError<T>(verb: string, act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (error instanceof FlockProcessError) throw error;
      throw this.#error(verb, error);
    }
  }

  async #asStateFileErrors<T>(verb: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      throw error instanceof FlockProcessError ? error : this.#error(verb, error);
    }
  }

  #error(verb: string, cause: unknown): StateFileError {
    const message = `Cannot ${verb} "${this.path}", which says whether the process is wanted: ${errorText(cause)}`;
    return new StateFileError(message, { path: this.path, cause });
  }
}

function randomWord(): string {
  return Math.random().toString(36).slice(2, 12);
}
