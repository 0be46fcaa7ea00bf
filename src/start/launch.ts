/**
 * What a start does once it has the lock: prepare, spawn with the lock, wait until ready, hand the lock over.
 * What fails or is aborted on the way leaves nothing behind: the process and its heirs are ended, then the lock is closed.
 * It is never unlocked: should one of them survive, the lock stays with it.
 */

import { closeSync } from 'node:fs';
import { basename } from 'node:path';
import { instanceOf } from '../inspect/checks.js';
import { heirsOfLock, LOCK_FD } from '../inspect/holder.js';
import type { FileLock } from '../lock/held-lock.js';
import { journalOf } from '../state/journal.js';
import { type OpenLog, openLog } from '../state/log-file.js';
import { removePidFile, writeLockFilePid, writePidFile } from '../state/pid-file.js';
import { type CompleteSpec, type Instance, KILL_WAIT_MS } from '../state/process-spec.js';
import { endLostProcess } from '../stop/stop.js';
import { terminate } from '../stop/terminate.js';
import { Deadline, Pace } from '../support/deadline.js';
import { debugLog } from '../support/debug.js';
import { errorText, LockDroppedError, LockUnavailableError, spawnError } from '../support/errors.js';
import { makeFolders } from '../support/files.js';
import type { ProcessInfo } from '../system/process-info.js';
import { processTable } from '../system/process-table.js';
import { lockPort, refuseBusyPort } from './port-lock.js';
import { findCommand, type SpawnedProcess, spawnProcess } from './spawn.js';
import { RestartUnderWay, type StillWanted } from './still-wanted.js';
import { type ReadyProcess, waitUntilReady } from './wait-until-ready.js';

export interface LaunchEvents {
  spawned(instance: Instance): void;
  ready(instance: Instance): void;
  exit(detail: { pid: number; exitCode: number | null; signal: NodeJS.Signals | null }): void;
}

interface LaunchOptions {
  wanted: StillWanted;
  events: LaunchEvents;
  signal?: AbortSignal | undefined;
}

const log = debugLog('start');

/** A process whose start failed is not given the time that a stop() gives it. */
const FAILED_START_GRACE_MS = 2_000;

/** @returns 'again' when the lock is not, or no longer, this start's to use: contend for it once more */
export async function launch(spec: CompleteSpec, lock: FileLock, options: LaunchOptions): Promise<Instance | 'again'> {
  try {
    if (options.wanted.begin() === 'in use') return 'again';
    writeLockFilePid(lock, process.pid);
    return await launchUnderLock(spec, lock, options);
  } catch (error) {
    if (error instanceof RestartUnderWay) return 'again';
    throw error;
  } finally {
    lock.handOver();
  }
}

async function launchUnderLock(
  spec: CompleteSpec,
  lock: FileLock,
  { wanted, events, signal }: LaunchOptions,
): Promise<Instance | 'again'> {
  const guard = () => wanted.guard();
  const began = performance.now();
  await endLostProcess(spec, { signal, guard });
  const deadline = Deadline.after(spec.startTimeoutMs);
  removePidFile(spec.pidFile);
  const executable = findCommand(spec);
  const { host, port } = spec;
  const portLock = port === undefined ? undefined : await lockPort(spec, port, { deadline, guard });
  try {
    if (port !== undefined) await refuseBusyPort(spec, { host, port }, { deadline, guard });
    const output = prepareFiles(spec);
    let spawned: SpawnedProcess;
    try {
      guard();
      if (!lock.isIntact()) return 'again';
      spawned = await spawnProcess(spec, { executable, log: output, lockFd: lock.fd });
    } finally {
      closeSync(output.fd);
    }
    log('spawned %s: PID %d, %s', spec.name, spawned.process.pid, executable);
    return await seeItThrough(spec, lock, spawned, { output, began, deadline, guard, events, signal });
  } finally {
    portLock?.release();
  }
}

async function seeItThrough(
  spec: CompleteSpec,
  lock: FileLock,
  spawned: SpawnedProcess,
  {
    output,
    began,
    deadline,
    guard,
    events,
    signal,
  }: { output: OpenLog; began: number; deadline: Deadline; guard: () => void } & Omit<LaunchOptions, 'wanted'>,
): Promise<Instance> {
  const { child } = spawned;
  const { pid, startKey } = spawned.process;
  const journal = journalOf(spec);
  child.once('exit', (exitCode, endSignal) => {
    journal.note('exit', { pid, startKey, exitCode, signal: endSignal });
    events.exit({ pid, exitCode, signal: endSignal });
  });
  let current = spawned.process;
  const record = (process: ProcessInfo) => {
    current = process;
    // Whoever has locked the file that is there now has files of its own.
    if (!lock.isIntact()) return;
    appendSpawn(spec, process, output);
    writePidFile(spec.pidFile, process, basename(spec.command));
    writeLockFilePid(lock, process.pid);
  };
  try {
    record(spawned.process);
    events.spawned(instanceOf(spec, spawned.process, { reused: false }));
    const waiting = { log: output, deadline, guard, signal, onSuccessor: record };
    const { process, carriesLock } = await waitUntilReady(spec, spawned, waiting);
    requireLock(spec, lock, { process, carriesLock });
    guard();
    const tookMs = Math.round(performance.now() - began);
    journal.append('ready', { pid: process.pid, tookMs, ...(spec.port === undefined ? {} : { port: spec.port }) });
    log('%s is ready: PID %d', spec.name, process.pid);
    lock.handOver();
    const instance = instanceOf(spec, process, { reused: false });
    events.ready(instance);
    return instance;
  } catch (error) {
    const reason = whyUnwanted(guard) ?? error;
    log('the start of %s failed, its process is ended: %s', spec.name, errorText(reason));
    // Whoever has locked the file that is there now has a process of its own, which is not to be ended.
    if (lock.isIntact()) journal.note('abandon');
    await abandon(spec, lock, spawned, current);
    throw reason;
  }
}

/** A stop that came meanwhile has its mark set before it signals: what else was met, an early exit say, is its doing. */
function whyUnwanted(guard: () => void): unknown {
  try {
    guard();
  } catch (reason) {
    return reason;
  }
  return undefined;
}

/** Names the process for everybody who asks from now on, with the begin of its output. @throws StateFileError */
export function appendSpawn(spec: CompleteSpec, process: ProcessInfo, output?: OpenLog): void {
  const { pid, startKey, sessionId } = process;
  const log =
    output === undefined ? {} : { log: { device: output.device, inode: output.inode, offset: output.offset } };
  journalOf(spec).append('spawn', {
    pid,
    startKey,
    boot: processTable().boot(),
    fd: LOCK_FD,
    session: sessionId,
    ...log,
  });
}

function prepareFiles(spec: CompleteSpec): OpenLog {
  try {
    spec.dataDirs.forEach(makeFolders);
    return openLog(spec.logFile);
  } catch (error) {
    throw spawnError(spec, errorText(error), error);
  }
}

function requireLock({ name, lockFile }: CompleteSpec, lock: FileLock, { process, carriesLock }: ReadyProcess): void {
  if (!lock.isIntact()) {
    const message = `Cannot start ${name}: lock file "${lockFile}" was deleted or replaced meanwhile; it must stay where it is`;
    throw new LockUnavailableError(message, { path: lockFile });
  }
  if (!carriesLock) {
    const { pid } = process;
    const message =
      `Cannot start ${name}: PID ${pid} closed descriptor ${LOCK_FD}, which carries its lock, so nothing would keep a second one ` +
      'from being started; it was ended. It must leave inherited descriptors open';
    throw new LockDroppedError(message, { pid });
  }
}

/**
 * We hold the lock, so whoever carries it as a managed process does shares our open file: an heir of what we spawned.
 * @param current what went on for the spawned process, if it put itself into the background
 */
async function abandon(
  spec: CompleteSpec,
  lock: FileLock,
  { child, process: spawned }: SpawnedProcess,
  current: ProcessInfo,
): Promise<void> {
  const { stopSignal, stopTimeoutMs } = spec;
  const graceMs = Math.min(FAILED_START_GRACE_MS, stopTimeoutMs);
  const heirs = () => (lock.isIntact() ? heirsOfLock(spec) : []);
  const grace = Deadline.after(graceMs);
  const limit = Deadline.after(graceMs + KILL_WAIT_MS);
  const pace = new Pace();
  let find = () => [spawned, current, ...heirs()];
  try {
    for (;;) {
      const { survivors } = await terminate(find, { stopSignal, graceMs: grace.remainingMs });
      if (survivors.length > 0 || limit.isOver || heirs().length === 0) break;
      // One that forked and ended between the look at it and its signal has left a child that was not seen. The others are
      // gone: what has their numbers from now on may be anybody's.
      find = heirs;
      await pace.wait();
    }
  } catch (error) {
    // No descriptor is left to look with (EMFILE). Nobody else can have its number: it is our child, and not collected yet.
    log('cannot look for what is left of %s: %s', spec.name, errorText(error));
    if (child.exitCode === null && child.signalCode === null) process.kill(-spawned.pid, 'SIGKILL');
  }
  if (lock.isIntact()) removePidFile(spec.pidFile);
}
