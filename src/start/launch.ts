/**
 * What a start does once it has the lock: prepare, spawn with the lock, wait until ready, hand the lock over.
 * A start that fails or is aborted leaves nothing behind: it ends the process and its heirs, then closes the lock.
 * It never unlocks: should one of them survive, the lock stays with that one.
 */

import { instanceOf, readinessOf } from '../inspect/checks.js';
import { heirsOfLock, leftBehind } from '../inspect/holder.js';
import type { FileLock } from '../lock/held-lock.js';
import { fileToSpawn, fingerprint } from '../state/drift.js';
import { journalOf } from '../state/journal.js';
import type { JournalState, Place } from '../state/journal-state.js';
import { removePidFile, writeLockFilePid, writePidFile } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, KILL_WAIT_MS } from '../state/process-spec.js';
import { endLeftBehind, type StopResult } from '../stop/stop.js';
import { terminate } from '../stop/terminate.js';
import { Deadline, poll, throwIfAborted } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { type CrashLoopError, errorText, LockUnavailableError, StoppedError } from '../support/errors.js';
import { now } from '../support/globals.js';
import type { Status } from '../support/status-report.js';
import { isUncollected, rememberSpawned } from '../system/own-children.js';
import { lookUpChild, ownStartKey, type ProcessInfo, processTable } from '../system/process-table.js';
import { lockPort, refuseBusyPort, refusePredecessor } from './port-lock.js';
import {
  appendSpawn,
  findCommand,
  PREPARE_GRACE_MS,
  prepareSpawn,
  type SpawnedProcess,
  spawnProcess,
} from './spawn.js';
import { handOverAndAsk, type WaitOptions, waitUntilReady } from './wait-until-ready.js';

/** The events of a manager, about its own calls and its own supervisor. What other managers do emits nothing here. */
export interface ProcessManagerEvents {
  /** This manager has spawned the process, which is not ready yet. */
  spawned: [instance: Instance];
  /** The process is ready: `start()` or `restart()` spawned it or found it running, or the supervisor spawned it. */
  ready: [instance: Instance];
  /** A process that this manager spawned has ended. */
  exit: [detail: { pid: number; exitCode: number | null; signal: NodeJS.Signals | null }];
  /** A `stop()` of this manager, or the first half of a `restart()`, has come to its end. */
  stopped: [result: StopResult];
  /**
   * A start has to wait: for the `prepare` or the readiness of a process that another start is at, for the end of one
   * that is being stopped, or for a port on which another one is being started. `pid`: who is at it, if that is seen.
   */
  waiting: [detail: { for: 'prepare' | 'stop' | 'port' | 'ready'; pid: number | undefined }];
  /** Supervision: a check of a live process failed, or only leftovers of it are there. */
  unhealthy: [status: Status];
  /** Supervision: after `unhealthy`, the process or its replacement has passed a check for the first time. */
  healthy: [status: Status];
  /** Supervision: the process is down, and is started after `delayMs`, for the `attempt`-th time within the window. */
  restarting: [detail: { attempt: number; delayMs: number }];
  /** Supervision has ended: a crash loop. */
  gaveUp: [error: CrashLoopError];
}

/** Emits an event of a manager. */
export type Announce = <E extends keyof ProcessManagerEvents>(name: E, ...values: ProcessManagerEvents[E]) => void;

export interface StartOptions {
  announce: Announce;
  signal?: AbortSignal | undefined;
  /** True for a supervisor's start after a crash, which is counted. */
  isRestart?: boolean;
  isBecoming?: boolean; // True for become(), which spawns nothing.
  /** The end of the journal at the call: a stop() at this place or beyond ends the start. A restart() ends no start. */
  place: Place;
}

type WantedOptions = Omit<StartOptions, 'announce'>;

/** Thrown by a start that has to give the lock back and contend once more; what it spawned is ended. */
export class ContendAgain extends Error {}

const log = debugLog('start');

/** The longest time between stopSignal and SIGKILL for a process whose start failed: a stop() may give it longer. */
const FAILED_START_GRACE_MS = 2_000;

/** The state of the journal while this start is wanted. @throws StoppedError | StateFileError; the signal's reason */
export function checkWanted(spec: CompleteSpec, { signal, place }: WantedOptions): JournalState {
  throwIfAborted(signal);
  const state = journalOf(spec).read();
  if (state.isStoppedSince(place)) throw new StoppedError(`${spec.name} was stopped while it was being started`);
  return state;
}

/** The winner's first act: the process is wanted. @throws ContendAgain while a stop is at work: it needs the lock */
export async function begin(
  spec: CompleteSpec,
  lock: FileLock,
  options: WantedOptions,
  fields: { prepareMs?: number | undefined } = {},
): Promise<() => void> {
  const { signal } = options;
  const journal = journalOf(spec);
  // After the `start` line, a pending line is a restart()'s: this start ends its process, and contends again.
  const guard = () => {
    if (checkWanted(spec, options).isPending) throw new ContendAgain();
  };
  const startKey = await ownStartKey();
  const sinceBootMs = Math.round(processTable().sinceBootMs());
  const begun = await journal.exclusivelySoon(() => {
    const state = checkWanted(spec, options);
    const restarts = options.isRestart ? state.restarts + 1 : 0;
    journal.begin(state, { startKey, sinceBootMs, restarts, fd: lock.fd, ...fields });
  });
  if (begun === 'in use') throw new ContendAgain();
  writeLockFilePid(lock, process.pid);
  await endLeftBehind(spec, { signal, guard });
  return guard;
}

/** Gives the lock back if the start failed. Its starter may live on: the lock file must not name it as the process. */
export function giveBack(lock: FileLock): void {
  if (lock.held) writeLockFilePid(lock, undefined);
  lock.handOver();
}

/** Gives the lock to the process that it spawns, or back. @throws ContendAgain when the lock is not its to use */
export async function launch(spec: CompleteSpec, lock: FileLock, options: StartOptions): Promise<Instance> {
  const { signal, announce } = options;
  const began = now();
  let portLock: FileLock | undefined;
  try {
    // JSON has no Infinity.
    const prepareMs = spec.prepare && Math.min(spec.prepareTimeoutMs + PREPARE_GRACE_MS, Number.MAX_SAFE_INTEGER);
    const guard = await begin(spec, lock, options, { prepareMs });
    const prepared = await prepareSpawn(spec, { guard, signal });
    const deadline = Deadline.after(spec.startTimeoutMs);
    const executable = findCommand(prepared);
    if (spec.port !== undefined) {
      const onWait = (pid: number | undefined) => announce('waiting', { for: 'port', pid });
      portLock = await lockPort(spec, spec.port, { deadline, guard, onWait });
      await refuseBusyPort(spec, spec.port, { deadline, guard, signal });
    }
    await refusePredecessor(spec, { signal, guard });
    guard();
    if (!lock.isIntact()) throw new ContendAgain();
    const file = fileToSpawn(spec, executable);
    const spawned = await spawnProcess(prepared, executable, lock.fd).catch((error: unknown) => {
      removePidFile(spec.pidFile);
      throw error;
    });
    log('spawned %s: PID %d, %s', spec.name, spawned.process.pid, executable);
    return await seeItThrough(spec, lock, spawned, { began, file, deadline, guard, announce, signal });
  } finally {
    portLock?.handOver();
    giveBack(lock);
  }
}

type Launch = { began: number; file: ReturnType<typeof fileToSpawn>; announce: Announce };

async function seeItThrough(
  spec: CompleteSpec,
  taken: FileLock,
  spawned: SpawnedProcess,
  { began, file, announce, ...waiting }: Launch & Omit<WaitOptions, 'askLock' | 'onSuccessor'>,
): Promise<Instance> {
  let lock = taken;
  const guard = () => {
    waiting.guard();
    if (!lock.held || lock.isIntact()) return;
    const { name, lockFile: path } = spec;
    const message = `Cannot start ${name}: lock file "${path}" was deleted or replaced meanwhile; it must stay where it is`;
    throw new LockUnavailableError(message, { path });
  };
  const { pid, startKey } = spawned.process;
  const journal = journalOf(spec);
  void spawned.ended.then(({ exitCode, signal }) => {
    journal.note('exit', { pid, startKey, exitCode, signal });
    announce('exit', { pid, exitCode, signal });
  });
  let current = spawned.process;
  const record = (info: ProcessInfo) => {
    current = info;
    rememberSpawned(spec.lockFile, info);
    // If the lock file was replaced, journal and PID file belong to the start that locked the new one.
    const origin = fingerprint(spec, file);
    if (!lock.isIntact()) return;
    appendSpawn(spec, info, { ...origin, lifetime: spec.lifetime, log: spawned.output });
    writePidFile({ ...spec, command: spawned.command }, info);
    writeLockFilePid(lock, info.pid);
  };
  try {
    record(spawned.process);
    announce('spawned', instanceOf(spec, spawned.process, { reused: false }));
    const askLock = async () => {
      const asked = await handOverAndAsk(spec, lock);
      if (typeof asked !== 'object') return asked;
      lock = asked;
      return false;
    };
    const info = await waitUntilReady(spec, spawned, { ...waiting, guard, askLock, onSuccessor: record });
    // Asking for the lock can take a while: what is unwanted by now must not be ready to others for an instant.
    guard();
    const tookMs = Math.round(now() - began);
    journal.append('ready', { pid: info.pid, tookMs, port: readinessOf(spec).port });
    log('%s is ready: PID %d', spec.name, info.pid);
    // The journal is read last before the hand-over. While a stop is pending, nobody reuses even a ready process.
    waiting.guard();
    lock.handOver();
    const instance = instanceOf(spec, info, { reused: false });
    announce('ready', instance);
    return instance;
  } catch (error) {
    let reason = error;
    try {
      guard();
    } catch (unwanted) {
      // A stop() writes its line before it signals, so an error such as an early exit is its doing: it is the reason.
      reason = unwanted;
    }
    log('the start of %s failed, its process is ended: %s', spec.name, errorText(reason));
    if (!lock.held || lock.isIntact()) journal.note('abandon');
    await abandon(spec, lock, spawned, current);
    throw reason;
  } finally {
    if (lock !== taken) giveBack(lock);
  }
}

/** Ends the process that was spawned, its last successor in the background, and their heirs. */
async function abandon(spec: CompleteSpec, lock: FileLock, spawned: SpawnedProcess, last: ProcessInfo): Promise<void> {
  const { child, process: first } = spawned;
  const grace = Deadline.exactly(Math.min(FAILED_START_GRACE_MS, spec.stopTimeoutMs));
  const heirs = () => (lock.isIntact() ? [...heirsOfLock(spec), ...leftBehind(spec)] : []);
  let find = () => [first, last, ...heirs()];
  const endFound = async () => {
    const { survivors } = await terminate(find, { stopSignal: spec.stopSignal, graceMs: grace.remainingMs });
    // A process that forked and ended between the look and its signal has left a child that was not seen. `first` and
    // `last` are gone: from now on their PIDs may be a stranger's.
    find = heirs;
    return survivors.length > 0 || heirs().length === 0;
  };
  try {
    if (isUncollected(child)) lookUpChild(first.pid);
    await poll(endFound, { deadline: Deadline.after(grace.remainingMs + KILL_WAIT_MS) });
  } catch (error) {
    // /proc hides them, or no descriptor is left (EMFILE). Nobody else can have the PID of an uncollected child.
    log('cannot look for what is left of %s: %s', spec.name, errorText(error));
    const killUnlessCollected = () => !isUncollected(child) || !process.kill(-first.pid, 'SIGKILL');
    await poll(killUnlessCollected, { deadline: Deadline.after(KILL_WAIT_MS) });
  }
  if (lock.isIntact()) removePidFile(spec.pidFile);
}
