/** What the lines of a journal add up to: what is wanted, what is pending, and which process was spawned last. */

type Counting = 'start' | 'stop' | 'restart' | 'abandon' | 'prepared' | 'spawn' | 'ready' | 'exit' | 'stopped';

/** Of these the last line counts, and trimming keeps it. */
const COUNTING: Counting[] = ['start', 'stop', 'restart', 'abandon', 'prepared', 'spawn', 'ready', 'exit', 'stopped'];

export type JournalEventName = Counting | 'supervise' | 'unsupervise' | 'crash' | 'give-up';

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
  /** At which descriptor it carries the lock. */
  readonly fd: number;
  /** Undefined of one that has become the process: its session, and its group, are its starter's. */
  readonly session?: number;
  /** Unknown of a process that was found without a journal that names it. */
  readonly log?: { readonly device: number; readonly inode: number; readonly offset: number };
  /** What it was spawned with, as drift.ts has it. */
  readonly salt?: unknown;
  readonly hashes?: unknown;
  readonly executable?: unknown;
}

/** One line of `NAME.journal`: who started, stopped, supervised it, and how it ended. */
export interface JournalEvent {
  readonly at: Date;
  readonly event: JournalEventName;
  /** PID of the process that wrote it. */
  readonly by: number;
  /** Further fields, by event: `program` (the name of its script), `pid`, `exitCode`, `signal`, `tookMs`, `outcome`, `delayMs`, `error`. */
  readonly [field: string]: unknown;
}

export type LastLines = ReadonlyMap<JournalEventName, JournalLine>;

export type JournalState = ReturnType<typeof stateOf>;

/** @param isTrusted false when others than this user could have written them: then nobody is signalled on their word */
export function stateOf(lastLines: LastLines, endPlace: Place, isTrusted: boolean) {
  const last = (event: JournalEventName) => lastLines.get(event);
  const placeOf = (event: JournalEventName) => last(event)?.place ?? -1;
  const isAfter = (event: JournalEventName, former: JournalEventName) => placeOf(event) > placeOf(former);
  const offsetOf = ({ id, offset }: Place) => (id === endPlace.id ? offset : 0);
  const undone = undoneBefore(last('start'), endPlace);
  const pending = (['stop', 'restart', 'abandon'] as const).filter((event) => placeOf(event) >= undone);
  const begun = isAfter('prepared', 'start') ? last('prepared') : last('start');
  const spawned = last('spawn') as SpawnLine | undefined;
  const exit = last('exit');
  const hasExited = exit?.pid === spawned?.pid && exit?.startKey === spawned?.startKey && isAfter('exit', 'spawn');
  const numbered = Number(last('start')?.restarts) || 0;
  return {
    endPlace,
    isTrusted,
    last,
    counting: COUNTING.flatMap((event) => last(event) ?? []),
    /** No stop() wants it down, or a restart() that came later wants it up again. */
    isWanted: placeOf('stop') < undone || isAfter('restart', 'stop'),
    /** A server that is there is to be ended, or is being ended. */
    isPending: pending.length > 0,
    /** Whoever wants it ended. */
    pendingBy: pending[0] && last(pending[0])?.by,
    /** A restart() is at work, or has died between its halves. */
    isRestarting: placeOf('restart') >= undone && isAfter('restart', 'stop'),
    isStoppedSince: (place: Place) => placeOf('stop') >= offsetOf(place),
    isUndone: (place: Place) => offsetOf(place) < undone,
    /** The process that was spawned or adopted last, dead or alive. */
    spawned,
    /** It wrote its own line, in become(). */
    hasBecome: spawned !== undefined && spawned.by === spawned.pid,
    fdOf: (pid: number) => (spawned?.pid === pid && Number.isInteger(spawned.fd) ? spawned.fd : undefined),
    /** It was spawned by the last start. Before that one has, nothing is said of who holds the lock now. */
    isOfLastStart: isAfter('spawn', 'start'),
    /** Its parent saw it end. By start ticks too: in another container the one before it can have had the same PID. */
    hasExited,
    /** It ended by itself, with exit code 0, and nobody has started it since. */
    isDone:
      hasExited && exit?.exitCode === 0 && isAfter('exit', 'start') && !pending.some((event) => isAfter('exit', event)),
    isReady: isAfter('ready', 'spawn'),
    /** A stop() or restart() has come to its end since it was spawned: nothing of it was left. */
    isDown: isAfter('stopped', 'spawn'),
    /** The line from which start time counts. */
    begun,
    /** How long prepare() of the last start can take, while that is not through. */
    preparesForMs: isAfter('spawn', 'start') ? undefined : (begun?.prepareMs as number | undefined),
    /** The last start has handed its process over. */
    isHandedOver: isAfter('ready', 'start'),
    /** By supervisors since somebody's last start() or supervise(). One that is under way, or has failed, is none. */
    restarts: isAfter('supervise', 'start') ? 0 : Math.max(0, numbered - (isAfter('ready', 'start') ? 0 : 1)),
  };
}

/** The last line of each supervisor; of the one that began last, the last one. */
export function supervisorLines(lines: readonly JournalLine[]): JournalLine[] {
  const theirs = lines.filter(({ event }) => ['supervise', 'crash', 'unsupervise', 'give-up'].includes(event));
  return [...new Map(theirs.map((line) => [line.supervisor, line])).values()];
}

/** For people: without what only this library can use. */
export function eventOf({ at, place, token, startKey, salt, hashes, ...fields }: JournalLine): JournalEvent {
  return Object.freeze({ ...fields, at: new Date(at) }) as JournalEvent;
}

/** Stops, restarts and abandons before this were undone by the last `start`, which had read so far. */
function undoneBefore(start: JournalLine | undefined, { id }: Place): number {
  const undoes = start?.undoes as Partial<Place> | null | undefined;
  if (start === undefined || undoes?.id !== id || typeof undoes.offset !== 'number') return 0;
  // Whoever wrote it can have read no further than to where it stands.
  return Math.min(undoes.offset, start.place);
}
