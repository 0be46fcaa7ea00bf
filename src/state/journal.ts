/**
 * NAME.journal: what happened to the process, one JSON line an event, appended with one write. Whether the process is
 * wanted, and which process it is, follows from the lines alone (journal-state.ts). Every call opens the journal by
 * name, since trimming puts another file in its place, and throws a StateFileError for an error of the system. The
 * locks on it say who is at work. A stop() or restart() holds LOCK_SH until the process is down; the start() that won
 * the process's lock takes LOCK_EX for a moment.
 */

import { constants, existsSync, linkSync, lstatSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { debugLog } from '../support/debug.js';
import { assertSupportedPlatform, errorCode, errorText, type StateFileError } from '../support/errors.js';
import { makeFolders, replaceFile, withRegularFile } from '../support/files.js';
import { random, systemTimeText } from '../support/globals.js';
import { fileError, lockJournal, READ_BYTES, readJournal, readLines, textOf, tryLockJournal } from './journal-file.js';
import { type JournalEventName, type JournalLine, type JournalState, type Place, stateOf } from './journal-state.js';
import { besideLockFile, type CompleteSpec } from './process-spec.js';

const log = debugLog('journal');

const TRIM_OVER_BYTES = 1024 * 1024;
const KEPT_LINES = 200;
const ATTEMPT_MS = 10; // Whoever keeps a lock on the journal for longer is at work.

/** Trimming moves places so far beyond the old end: lines that others still write into the old file lie before it. */
const PLACES_GAP = 1024 * 1024;

/** Lines that only inform. A day of short supervisions of one process makes 256 KiB of them. */
const UNCOUNTED: readonly JournalEventName[] = ['supervise', 'unsupervise', 'crash', 'give-up'];

/** Error codes of another user's file, and of what is not a regular file; the latter may have no code. */
const UNREADABLE = ['EACCES', 'EPERM', 'ELOOP', 'ENXIO', undefined];

const NOTHING = stateOf(new Map(), { id: '', offset: 0 }, false);

const journals = new WeakMap<object, Journal>();

/** One object for as long as the spec exists: it reads only what is new. @throws UnsupportedPlatformError on Windows */
export function journalOf(spec: Pick<CompleteSpec, 'lockFile'>): Journal {
  assertSupportedPlatform();
  const journal = journals.get(spec) ?? new Journal(besideLockFile(spec, 'journal'));
  journals.set(spec, journal);
  return journal;
}

/** A stop() or restart() at work on its line. */
export type JournalWork = { place: Place; isRewritten: boolean; release(): void };

type Fields = Readonly<Record<string, unknown>>;

/** Stops and restarts of this process that do not have LOCK_SH yet, each with the path of its journal. */
const unsettled = new Map<Promise<JournalWork>, string>();

export class Journal {
  readonly path: string;
  #seen: ReturnType<typeof readJournal> | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** What the lines add up to now; an empty state when there is no journal. */
  read(): JournalState {
    try {
      this.#seen = withRegularFile(this.path, constants.O_RDONLY, (fd) => readJournal(fd, this.#seen));
      return this.#seen.state;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw fileError(this.path, 'read', error);
      return NOTHING;
    }
  }

  lines(): JournalLine[] {
    try {
      return withRegularFile(this.path, constants.O_RDONLY, readLines);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw fileError(this.path, 'read', error);
      return [];
    }
  }

  /** A journal that this user may not read says as little as none. @throws the system's error, EMFILE for example */
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

  /** Creates the journal when it is missing. It is complete from its first instant. */
  create(): void {
    if (existsSync(this.path)) return;
    const draft = `${this.path}.${process.pid}-${randomWord()}`;
    try {
      makeFolders(dirname(this.path));
      try {
        writeFileSync(draft, textOf({ id: randomWord(), base: 0, kept: [] }), { flag: 'wx', mode: 0o600 });
        linkSync(draft, this.path);
      } finally {
        rmSync(draft, { force: true });
      }
    } catch (error) {
      // Another process may have been quicker.
      if (!existsSync(this.path)) throw fileError(this.path, 'create', error);
    }
  }

  /** One write: another process's line could come between two. It begins a new line: a torn line swallows no other. */
  append(event: JournalEventName, fields: Fields = {}): void {
    const bytes = Buffer.from(`\n${textOf(newLine(event, fields))}`, 'latin1');
    try {
      const written = withRegularFile(this.path, constants.O_WRONLY | constants.O_APPEND, (fd) => writeSync(fd, bytes));
      if (written < bytes.length) throw new Error(`only ${written} of ${bytes.length} bytes were written`);
    } catch (error) {
      throw fileError(this.path, 'write', error);
    }
    log('%s: %s (PID %d)', this.path, event, process.pid);
  }

  /** As append(), but a journal that cannot be written is only a line in the log. */
  note(event: JournalEventName, fields: Fields = {}): void {
    try {
      // A supervisor that respects a stop can be the first writer.
      if (event === 'supervise') this.create();
      if (!UNCOUNTED.includes(event) || !this.#isCrowded()) this.append(event, fields);
    } catch (error) {
      log('%s', errorText(error));
    }
  }

  /** Is so much behind the last `start` that more would push that line, or a stop, out of what readers take? */
  #isCrowded(): boolean {
    const state = this.read();
    return state.endPlace.offset - (state.last('start')?.place ?? 0) > READ_BYTES / 2;
  }

  /**
   * Appends a line in the turn of the call, then takes LOCK_SH, until `release()`. A line that trimming has cut off, or
   * that went into a file which was replaced at that moment, is written again, and counts from there.
   */
  async workOn(event: 'stop' | 'restart'): Promise<JournalWork> {
    const token = randomWord();
    this.append(event, { token });
    const settled = this.#settle(event, token);
    unsettled.set(settled, this.path);
    return await settled.finally(() => unsettled.delete(settled));
  }

  async #settle(event: JournalEventName, token: string): Promise<JournalWork> {
    const { release } = await this.holdShared();
    const find = () => this.lines().findLast((line) => line.token === token)?.place;
    try {
      const last = this.read().last(event);
      const found = last?.token === token ? last.place : find();
      if (found === undefined) this.append(event, { token });
      const { id, offset: end } = this.read().endPlace;
      return { place: { id, offset: found ?? find() ?? end }, isRewritten: found === undefined, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Waits until earlier lines of this process are settled. @returns places of those written again: they are older */
  async earlierLines(): Promise<Place[]> {
    const ours = Array.from(unsettled).flatMap(([settled, path]) => (path === this.path ? settled : []));
    const works = await Promise.allSettled(ours);
    return works.flatMap((work) => (work.status === 'fulfilled' && work.value.isRewritten ? work.value.place : []));
  }

  /** Decides in one turn, under LOCK_EX: nobody changes anything. 'in use' while a stop() or restart() is at work. */
  exclusively<T>(act: (state: JournalState) => T): T | 'in use' {
    this.create();
    return this.#under(this.tryHoldExclusive(), act);
  }

  /** As exclusively(), but holds out against probeStopAtWork() of somebody else, which takes LOCK_EX for microseconds. */
  async exclusivelySoon<T>(act: (state: JournalState) => T): Promise<T | 'in use'> {
    this.create();
    return this.#under(await lockJournal(this.path, 'ex', ATTEMPT_MS), act);
  }

  #under<T>(release: (() => void) | undefined, act: (state: JournalState) => T): T | 'in use' {
    if (release === undefined) return 'in use';
    try {
      return act(this.read());
    } finally {
      release();
    }
  }

  /** Holds LOCK_EX for longer than a turn, until it is released. Undefined when somebody is at work. */
  tryHoldExclusive(): (() => void) | undefined {
    return tryLockJournal(this.path, 'ex');
  }

  /** Under LOCK_EX: writes the `start` line of the start that won the process's lock. It undoes what was read. */
  begin(state: JournalState, fields: Fields): void {
    const start = { ...fields, undoes: state.endPlace };
    const isLarge = this.#seen !== undefined && this.#seen.size > TRIM_OVER_BYTES;
    if (!isLarge || !this.#trim(state, start)) this.append('start', start);
  }

  /**
   * The new file is complete before it gets its name. Its first line repeats what still counts: there it is read
   * however much is written behind it. The file keeps owner and mode: lines that others could have written are not
   * trusted more afterwards.
   * @returns false when there is no room for it, say, or it is another user's: then the journal stays as it is
   */
  #trim({ endPlace: { id, offset }, counting }: JournalState, start: Fields): boolean {
    const head = { id, base: offset + PLACES_GAP, kept: counting };
    try {
      const text = [head, ...this.lines().slice(-KEPT_LINES), newLine('start', start)].map(textOf).join('');
      replaceFile(this.path, text, lstatSync(this.path));
    } catch (error) {
      log('cannot trim %s: %s', this.path, errorText(error));
      return false;
    }
    log('%s: start, and trimmed (PID %d)', this.path, process.pid);
    return true;
  }

  async probeStopAtWork(): Promise<boolean> {
    const release = await lockJournal(this.path, 'ex', ATTEMPT_MS);
    release?.();
    return release === undefined;
  }

  /** Takes LOCK_SH, to take part in a stop whose line somebody else wrote. */
  async holdShared(): Promise<{ release(): void }> {
    // A holder of LOCK_EX appends one line: that takes microseconds, unless it is suspended in between.
    const release = await lockJournal(this.path, 'sh', 1_000);
    if (release === undefined) throw fileError(this.path, 'lock', new Error('another process keeps it locked'));
    return { release };
  }
}

function newLine(event: JournalEventName, fields: Fields): object {
  const [, script] = process.argv;
  return { at: systemTimeText(), event, by: process.pid, program: script && basename(script), ...fields };
}

export function randomWord(): string {
  return random().toString(36).slice(2, 12);
}
