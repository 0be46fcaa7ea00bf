/** What the lines of a journal add up to: what is wanted, what is pending, and which process was spawned last. */

import { systemTimeMs } from '../support/globals.js';
import { type ProcessInfo, processTable } from '../system/process-table.js';

type Counting = 'start' | 'stop' | 'restart' | 'abandon' | 'prepared' | 'spawn' | 'ready' | 'exit' | 'stopped';

/** The last line of each of these events counts, and trimming keeps it. */
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
 * Where a line stands, or the end, where the next one will: exact however many processes write at once. A place only
 * grows, also when the journal is trimmed. The `id` is the journal's: a place in another journal counts as the
 * beginning.
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
  /** The descriptor at which it carries the lock. */
  readonly fd: number;
  /** Undefined for a process that called become(): its session and its group are its starter's. */
  readonly session?: number;
  /** Undefined for a process that was found without a journal that names it. */
  readonly log?: { readonly device: number; readonly inode: number; readonly offset: number };
  /** What the process was spawned with: see drift.ts. */
  readonly lifetime?: unknown;
  readonly salt?: unknown;
  readonly hashes?: unknown;
  readonly executable?: unknown;
}

/** One line of `NAME.journal`: who started, stopped or supervised the process, and how it ended. */
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

/** @param isTrusted false when others could have written the lines: no process is signalled on their word */
export function stateOf(lastLines: LastLines, endPlace: Place, isTrusted: boolean) {
  const last = (event: JournalEventName) => lastLines.get(event);
  const placeOf = (event: JournalEventName) => last(event)?.place ?? -1;
  const isAfter = (event: JournalEventName, former: JournalEventName) => placeOf(event) > placeOf(former);
  const offsetOf = ({ id, offset }: Place) => (id === endPlace.id ? offset : 0);
  const undone = undoneBefore(last('start'), endPlace);
  const pending = (['stop', 'restart', 'abandon'] as const).filter((event) => placeOf(event) >= undone);
  const begun = isAfter('prepared', 'start') ? last('prepared') : last('start');
  const spawned = last('spawn') as SpawnLine | undefined;
  const isOfLastStart = isAfter('spawn', 'start');
  const exit = last('exit');
  const hasExited = exit?.pid === spawned?.pid && exit?.startKey === spawned?.startKey && isAfter('exit', 'spawn');
  const numbered = Number(last('start')?.restarts) || 0;
  return {
    endPlace,
    isTrusted,
    last,
    counting: COUNTING.flatMap((event) => last(event) ?? []),
    /** No stop() wants the process down, or a later restart() wants it up again. */
    isWanted: placeOf('stop') < undone || isAfter('restart', 'stop'),
    /** A server that is there is to be ended, or is being ended. */
    isPending: pending.length > 0,
    /** The last line that wants it ended. */
    pendingLine: pending.flatMap((event) => last(event) ?? []).toSorted((one, other) => other.place - one.place)[0],
    /** PID of the process that wants the server ended. */
    pendingBy: pending[0] && last(pending[0])?.by,
    /** A restart() is at work, or died between its two halves. */
    isRestarting: placeOf('restart') >= undone && isAfter('restart', 'stop'),
    isStoppedSince: (place: Place) => placeOf('stop') >= offsetOf(place),
    isUndone: (place: Place) => offsetOf(place) < undone,
    /** The process that was spawned or adopted last, dead or alive. */
    spawned,
    /** The process wrote its own line, in become(). */
    hasBecome: spawned !== undefined && spawned.by === spawned.pid,
    fdOf: (pid: number) => (spawned?.pid === pid && Number.isInteger(spawned.fd) ? spawned.fd : undefined),
    /** The last start has spawned it. Until then the journal does not say who holds the lock. */
    isOfLastStart,
    /** The last start, until it has spawned its process. */
    starting: isOfLastStart ? undefined : last('start'),
    /** Its parent saw it end. Start ticks count, too: in another container an earlier process can have had this PID. */
    hasExited,
    /** It ended by itself, with exit code 0, and nobody has started it since. */
    isDone:
      hasExited && exit?.exitCode === 0 && isAfter('exit', 'start') && !pending.some((event) => isAfter('exit', event)),
    isReady: isAfter('ready', 'spawn'),
    /** A stop() or restart() has finished since the spawn: nothing of the process was left. */
    isDown: isAfter('stopped', 'spawn'),
    /** The line from which start time counts. */
    begun,
    /** How long prepare() of the last start can take; undefined when it has finished. */
    preparesForMs: isOfLastStart ? undefined : (begun?.prepareMs as number | undefined),
    /** The last start has handed its process over. */
    isHandedOver: isAfter('ready', 'start'),
    /** By supervisors since somebody's last start() or supervise(), without one that is under way or has failed. */
    restarts: isAfter('supervise', 'start') ? 0 : Math.max(0, numbered - (isAfter('ready', 'start') ? 0 : 1)),
  };
}

/** The age of a line, on the clock since boot if the line has it: the wall clock can be set. Infinite after reboot. */
export function lineAgeMs({ at, sinceBootMs }: JournalLine): number {
  if (typeof sinceBootMs !== 'number') return systemTimeMs() - Date.parse(at);
  const ageMs = processTable().sinceBootMs() - sinceBootMs;
  // The clocks of two processes differ by some 10 ms, so a line of this moment can seem to come from the future.
  return ageMs < -1_000 ? Number.POSITIVE_INFINITY : ageMs;
}

/** The last line of each supervisor, in the order in which the supervisors began. */
export function supervisorLines(lines: readonly JournalLine[]): JournalLine[] {
  const theirs = lines.filter(({ event }) => ['supervise', 'crash', 'unsupervise', 'give-up'].includes(event));
  return [...new Map(theirs.map((line) => [line.supervisor, line])).values()];
}

/** The event for people: without what only this library can use. */
export function eventOf({ at, place, token, startKey, salt, hashes, ...fields }: JournalLine): JournalEvent {
  return Object.freeze({ ...fields, at: new Date(at) }) as JournalEvent;
}

/** The time in the `spawn` line is the same for every caller; the system's start time is exact to a second only. */
export function startedAt({ spawned }: JournalState, info: ProcessInfo): Date {
  const isNamed = spawned?.pid === info.pid && spawned.startKey === info.startKey;
  return new Date(isNamed ? spawned.at : processTable().startTime(info) * 1000);
}

/** The last `start` undid the stops, restarts and abandons before this place: its writer had read so far. */
function undoneBefore(start: JournalLine | undefined, { id }: Place): number {
  const undoes = start?.undoes as Partial<Place> | null | undefined;
  if (start === undefined || undoes?.id !== id || typeof undoes.offset !== 'number') return 0;
  // The writer can have read no further than to its own line.
  return Math.min(undoes.offset, start.place);
}
