/** Spawns the managed process, with the watcher of a tied or shared one. No other file spawns it. */

import type { ChildProcess, StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, ftruncateSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants as osConstants } from 'node:os';
import { dirname } from 'node:path';
import { status } from '../inspect/status.js';
import { WATCHED_FD, WATCHER_NAME } from '../inspect/watcher.js';
import { markDescriptors } from '../lock/flock.js';
import { findWaiter } from '../lock/flock-helpers.js';
import { LOCK_FD } from '../lock/held-lock.js';
import { openLockFile } from '../lock/lock-file.js';
import { executables } from '../state/drift.js';
import { journalOf } from '../state/journal.js';
import type { SpawnLine } from '../state/journal-state.js';
import { type OpenLog, openLog } from '../state/log-file.js';
import { besideLockFile, type CompleteSpec, completeSpec } from '../state/process-spec.js';
import { Alarm, Deadline, onAbort } from '../support/deadline.js';
import { CommandNotFoundError, errorCode, errorText, StartTimeoutError, spawnError } from '../support/errors.js';
import { isExecutableFile, makeFolders } from '../support/files.js';
import { newAbort, now } from '../support/globals.js';
import { builtIn } from '../support/load.js';
import { checkRecord } from '../support/options.js';
import { isUncollected, rememberChild } from '../system/own-children.js';
import { lookUpChild, type ProcessInfo, processTable } from '../system/process-table.js';
import { WATCHER_TEXT } from './watcher-text.js';

type Exit = { readonly exitCode: number | null; readonly signal: NodeJS.Signals | null };

export interface SpawnedProcess {
  readonly child: ChildProcess;
  readonly process: ProcessInfo;
  readonly output: OpenLog;
  /** The command that was spawned, which prepare() may have replaced. */
  readonly command: string;
  /** Resolves when the process ends, also if it ended before it was looked up. */
  readonly ended: Promise<Exit>;
}

/** How long prepare() may go on when its signal is aborted. */
export const PREPARE_GRACE_MS = 2_000;

/** How often a start checks whether it is still wanted while prepare() runs. */
const PREPARE_LOOK_MS = 100;

/** Runs prepare() and returns the spec to spawn. @throws what prepare() and `guard` throw; StartTimeoutError */
export async function prepareSpawn(
  spec: CompleteSpec,
  { guard, signal }: { guard: () => void; signal: AbortSignal | undefined },
): Promise<CompleteSpec> {
  const { name, prepare, prepareTimeoutMs: timeoutMs } = spec;
  if (prepare === undefined) return spec;
  const began = now();
  const limit = Deadline.after(timeoutMs);
  const over = newAbort();
  const bell = new Alarm();
  const forget = onAbort(signal, () => bell.ring());
  let isSettled = false;
  const settle = () => {
    isSettled = true;
    bell.ring();
  };
  const work = (async () => await prepare({ signal: over.signal }))();
  work.then(settle, settle);
  try {
    while (!isSettled) {
      guard();
      if (limit.isOver) {
        const message = `Cannot start ${name}: prepare() did not come to its end within ${timeoutMs} ms; its log is "${spec.logFile}"`;
        throw new StartTimeoutError(message, { timeoutMs, status: await status(spec), logTail: [] });
      }
      await bell.wait(Math.min(PREPARE_LOOK_MS, limit.remainingMs));
    }
  } catch (reason) {
    over.abort(reason);
    const grace = Deadline.exactly(PREPARE_GRACE_MS);
    while (!isSettled && !grace.isOver) await bell.wait(grace.remainingMs);
    throw reason;
  } finally {
    forget();
  }
  const changes = (await work) ?? {};
  checkRecord('the result of prepare()', changes);
  const { command = spec.command, args = spec.args, env = spec.env, cwd = spec.cwd } = changes;
  const tookMs = Math.round(now() - began);
  journalOf(spec).append('prepared', { tookMs, sinceBootMs: Math.round(processTable().sinceBootMs()) });
  try {
    return completeSpec({ ...spec, command, args, env, ...(cwd === undefined ? {} : { cwd }) });
  } catch (cause) {
    // The value may be secret, and a supervisor writes the message into the journal: the message leaves the value out.
    const [option] = /^"[^"]+"/.exec(errorText(cause)) ?? ['an option'];
    throw new TypeError(`Cannot start ${name}: what prepare() returned has a wrong ${option}`, { cause });
  }
}

/** The process leads its own session and group, and writes to the log itself. @throws SpawnError | FlockBindingError */
export async function spawnProcess(spec: CompleteSpec, executable: string, lockFd: number): Promise<SpawnedProcess> {
  const { spawn } = builtIn('node:child_process');
  const { lifetime, lingerMs, cwd, env } = spec;
  const [command, ...args] = commandLine(spec, executable);
  // The users file is opened once more: the watcher must not share our LOCK_SH.
  const usersFd = lifetime === 'shared' ? openLockFile(besideLockFile(spec, 'users'), 0o600) : undefined;
  const watched = usersFd ?? (lifetime === 'tied' ? 'pipe' : 'ignore');
  const argv0 = lifetime === 'detached' ? spec.command : undefined;
  let output: OpenLog | undefined;
  let child: ChildProcess;
  try {
    // The lines of earlier users mean nothing to this watcher, and no earlier watcher needs them: its process is dead.
    if (usersFd !== undefined && lingerMs > 0) ftruncateSync(usersFd);
    output = openLog(spec);
    const stdio: StdioOptions = ['ignore', output.fd, output.fd, lockFd, watched];
    markDescriptors();
    child = spawn(command, args, { argv0, stdio, cwd, detached: true, env: { ...process.env, ...env } });
  } catch (error) {
    throw spawnError(spec, errorText(error), error);
  } finally {
    for (const fd of [output?.fd, usersFd]) if (fd !== undefined) closeSync(fd);
  }
  if (child.pid === undefined) {
    const [error] = await once(child, 'error').catch((reason) => [reason]);
    let why = errorText(error);
    // If the command exists, the system misses the interpreter that its #! line, or its loader entry, names.
    if (errorCode(error) === 'ENOENT')
      why = `${existsSync(command) ? 'the interpreter of ' : ''}"${command}" does not exist`;
    throw spawnError(spec, why, error);
  }
  child.on('error', () => undefined); // A failed child.kill() would surface here; signals are sent elsewhere.
  child.unref();
  if (watched === 'pipe') {
    // Nobody writes into the pipe. It closes when the process exits, or when this process, the owner, ends.
    const pipe = child.stdio[WATCHED_FD] as Socket;
    pipe.unref();
    pipe.on('error', () => undefined); // The other end closes when the watcher exits first.
    child.once('exit', () => pipe.destroy());
  }
  const ended = new Promise<Exit>((resolve) => {
    child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
  });
  try {
    const info = await lookUpSpawned(child, child.pid);
    rememberChild(info, child, ended);
    return { child, process: info, output, command: spec.command, ended };
  } catch (error) {
    // /proc hides the process, or no descriptor is left to look it up (EMFILE).
    child.kill('SIGKILL');
    throw spawnError(spec, errorText(error), error);
  }
}

/**
 * With /proc the process is looked up in the turn of the spawn. Even if it died at once, it is not collected yet: libuv
 * does that in the event loop.
 */
async function lookUpSpawned(child: ChildProcess, pid: number): Promise<ProcessInfo> {
  const found = await processTable().lookUpAside(pid);
  if (found !== undefined) return found;
  if (isUncollected(child)) return lookUpChild(pid);
  const identity = { pid, startKey: '', parentPid: process.pid, groupId: pid, sessionId: pid };
  return { ...identity, isZombie: true, isExiting: true, isSuspended: false };
}

/** Shell arithmetic has at least 32 bits; this is 24 days. */
const MAX_SHELL_MS = 0x7fffffff;

const inShell = (ms: number) => String(Math.ceil(Math.min(ms, MAX_SHELL_MS)));

/** The executable, or the shell that begins a watcher and then becomes the executable. @throws FlockBindingError */
function commandLine(spec: CompleteSpec, executable: string): [string, ...string[]] {
  const { lifetime, args, stopSignal, stopTimeoutMs, lingerMs } = spec;
  if (lifetime === 'detached') return [executable, ...args];
  // The signal is passed by number, because shells do not know all names (SIGIOT, SIGSTKFLT).
  const signalNumber = String(osConstants.signals[stopSignal]);
  const waiter = lifetime === 'shared' ? findWaiter() : '';
  const watched = [lifetime, signalNumber, inShell(stopTimeoutMs), waiter, inShell(lingerMs)];
  return ['/bin/sh', '-c', WATCHER_TEXT, WATCHER_NAME, ...watched, executable, ...args];
}

/**
 * Makes `dataDirs`, one of which can be the cwd, and the folder of the PID file, and finds the command. Cwd and command
 * are checked apart: the system says ENOENT for either. @throws CommandNotFoundError | SpawnError
 */
export function findCommand(spec: CompleteSpec): string {
  try {
    [...spec.dataDirs, dirname(spec.pidFile)].forEach(makeFolders);
  } catch (error) {
    throw spawnError(spec, errorText(error), error);
  }
  const cwd = spec.cwd ?? process.cwd();
  try {
    // With the slash a file is ENOTDIR.
    statSync(`${cwd}/`);
  } catch (error) {
    const isMissing = ['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '');
    const why = isMissing ? 'does not exist' : `cannot be used: ${errorText(error)}`;
    throw spawnError(spec, `the working directory "${cwd}" ${why}`, error);
  }
  const candidates = executables(spec);
  const executable = candidates.find(isExecutableFile);
  if (executable === undefined) throw commandNotFoundError(spec, candidates);
  return executable;
}

function commandNotFoundError(spec: CompleteSpec, candidates: readonly string[]): CommandNotFoundError {
  const { name, command, installHint } = spec;
  const existing = candidates.find((path) => existsSync(path));
  let why = command.includes('/') ? 'no such file' : 'it is not on PATH';
  if (existing !== undefined) why = `"${existing}" is not an executable file`;
  const hint = installHint === undefined ? '' : `. ${installHint}`;
  const message = `Cannot start ${name}: command "${command}" not found: ${why}${hint}`;
  return new CommandNotFoundError(message, { command });
}

type Origin = Pick<SpawnLine, 'salt' | 'hashes' | 'executable' | 'log' | 'lifetime'>;

/**
 * @param origin an adopted process gets the origin of the process before it
 * @param fd not LOCK_FD for a process that called become(), which is in a session that is not its own
 */
export function appendSpawn(spec: CompleteSpec, info: ProcessInfo, origin: Origin, fd = LOCK_FD): void {
  const { pid, startKey, sessionId } = info;
  const { log: output, lifetime, salt, hashes, executable } = origin;
  const session = fd === LOCK_FD ? sessionId : undefined;
  const logIdentity = output && { device: output.device, inode: output.inode, offset: output.offset };
  const identity = { pid, startKey, boot: processTable().boot(), fd, session };
  journalOf(spec).append('spawn', {
    ...identity,
    log: logIdentity,
    lockFile: spec.lockFile,
    lifetime,
    salt,
    hashes,
    executable,
  });
}
