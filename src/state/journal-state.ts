/** What the lines of a journal add up to: what is wanted, what is pending, and which process was spawned last. */

/** Of these the last line is enough to know what counts: trimming keeps it. */
const COUNTING = ['start', 'stop', 'restart', 'abandon', 'prepared', 'spawn', 'ready', 'exit', 'stopped'] as const;

export type JournalEventName = (typeof COUNTING)[number] | 'supervise' | 'unsupervise' | 'crash' | 'give-up';

/** One line: an event, when it happened, who wrote it, and where it stands, or stood before trimming copied it. */
export interface JournalLine {
  readonly at: string;
  readonly event: JournalEventName;
  readonly by: number;
  readonly place: number;
  readonly [field: string]: unknown;
}

/**
 * Where a line stands, or the end, where the next one will: exact however many processes write at once. It only grows, also
 * when the journal is trimmed. The `id` is the journal's: a place in another one counts as its begin.
 */
export interface Place {
  readonly id: string;
  readonly offset: number;
}

/** A process as `spawn` names it: boot, PID and start ticks are never the same for two processes. */
export interface SpawnLine extends JournalLine {
  readonly pid: number;
  readonly startKey: string;
  /** Boot and PID namespace in which the PID means this process. */
  readonly boot: string;
}

export class JournalState {
  /** Those that a reader takes, oldest first. */
  readonly lines: readonly JournalLine[];
  readonly endPlace: Place;
  /** False when others than this user could have written it: then nobody is signalled on its word. */
  readonly isTrusted: boolean;
  readonly #last: ReadonlyMap<JournalEventName, JournalLine>;

  constructor(lines: readonly JournalLine[], endPlace: Place, isTrusted: boolean) {
    this.lines = lines;
    this.endPlace = endPlace;
    this.isTrusted = isTrusted;
    this.#last = new Map(lines.map((line) => [line.event, line]));
  }

  last(event: JournalEventName): JournalLine | undefined {
    return this.#last.get(event);
  }

  get counting(): JournalLine[] {
    return COUNTING.flatMap((event) => this.last(event) ?? []);
  }

  /** Stops, restarts and abandons before this place were undone by the last `start`, which had read so far. */
  get #undone(): number {
    const start = this.last('start');
    const undoes = start?.undoes as Partial<Place> | null | undefined;
    if (start === undefined || undoes?.id !== this.endPlace.id || typeof undoes.offset !== 'number') return 0;
    // Whoever wrote it can have read no further than to where it stands.
    return Math.min(undoes.offset, start.place);
  }

  #placeOf(event: JournalEventName): number {
    return this.last(event)?.place ?? -1;
  }

  #isAfter(event: JournalEventName, former: JournalEventName): boolean {
    return this.#placeOf(event) > this.#placeOf(former);
  }

  /** No stop() wants it down, or a restart() that came later wants it up again. */
  get isWanted(): boolean {
    return this.#placeOf('stop') < this.#undone || this.#isAfter('restart', 'stop');
  }

  /** A server that is there is to be ended, or is being ended. */
  get isPending(): boolean {
    return (['stop', 'restart', 'abandon'] as const).some((event) => this.#placeOf(event) >= this.#undone);
  }

  /** A restart() is at work, or has died between its halves. */
  get isRestarting(): boolean {
    return this.#placeOf('restart') >= this.#undone && this.#isAfter('restart', 'stop');
  }

  /** Was there a stop() at this place or beyond it? */
  isStoppedSince(place: Place): boolean {
    return this.#placeOf('stop') >= this.#offsetOf(place);
  }

  /** Has a `start` undone the line at this place? */
  isUndone(place: Place): boolean {
    return this.#offsetOf(place) < this.#undone;
  }

  #offsetOf({ id, offset }: Place): number {
    return id === this.endPlace.id ? offset : 0;
  }

  /** The process that was spawned or adopted last, dead or alive. */
  get spawned(): SpawnLine | undefined {
    return this.last('spawn') as SpawnLine | undefined;
  }

  /** It was spawned by the last start. Before that one has, nothing is said of who holds the lock now. */
  get isOfLastStart(): boolean {
    return this.#isAfter('spawn', 'start');
  }

  /** Its parent saw it end. By start ticks too: in another container the one before it can have had the same PID. */
  get hasExited(): boolean {
    const exit = this.last('exit');
    const isOfSpawned = exit?.pid === this.spawned?.pid && exit?.startKey === this.spawned?.startKey;
    return isOfSpawned && this.#isAfter('exit', 'spawn');
  }

  get isReady(): boolean {
    return this.#isAfter('ready', 'spawn');
  }

  /** The last start has handed its process over. */
  get isHandedOver(): boolean {
    return this.#isAfter('ready', 'start');
  }
}
