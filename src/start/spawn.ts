/** Start the managed process: the only user of node:child_process for it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, readSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';
import type { OpenLog } from '../state/log-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { CommandNotFoundError, errorCode, errorText, spawnError } from '../support/errors.js';
import { isExecutableFile, isFolder } from '../support/files.js';
import type { ProcessInfo } from '../system/process-info.js';
import { processTable } from '../system/process-table.js';
import { watcherFor } from './launch-watcher.js';

export interface SpawnedProcess {
  readonly child: ChildProcess;
  readonly process: ProcessInfo;
}

/**
 * The process leads a session and a group of its own, writes to the log itself, and inherits the lock as its descriptor 3.
 * @throws SpawnError | FlockBindingError
 */
export async function spawnProcess(
  spec: CompleteSpec,
  { executable, log, lockFd }: { executable: string; log: OpenLog; lockFd: number },
): Promise<SpawnedProcess> {
  const options = { cwd: spec.cwd, detached: true, env: environment(spec) };
  const stdio = ['ignore' as const, log.fd, log.fd, lockFd];
  const watcher = watcherFor(spec, executable);
  let child: ChildProcess;
  try {
    child =
      watcher === undefined
        ? spawn(executable, spec.args, { ...options, stdio, argv0: spec.command })
        : spawn(watcher.command, watcher.args, { ...options, stdio: [...stdio, watcher.watched] });
  } catch (error) {
    throw spawnError(spec, errorText(error), error);
  } finally {
    watcher?.close();
  }
  if (child.pid === undefined) {
    const [error] = await once(child, 'error').catch((reason) => [reason]);
    // It was there a moment ago: what the system misses is what its #! line, or its loader entry, names.
    const isInterpreterMissing = errorCode(error) === 'ENOENT' && existsSync(executable);
    const why = isInterpreterMissing ? `the interpreter of "${executable}" does not exist` : errorText(error);
    throw spawnError(spec, why, error);
  }
  child.on('error', () => undefined); // A failed child.kill() would surface here; signals are sent elsewhere.
  child.unref();
  watcher?.attach(child);
  // Not collected yet even if it died at once: libuv does that in the event loop, not in this turn.
  try {
    const process = processTable().lookUp(child.pid);
    if (process === undefined) throw new Error(`PID ${child.pid} is not in the process table`);
    return { child, process };
  } catch (error) {
    // Hidden from us (hidepid and a program that changes its user), or no descriptor is left to look with (EMFILE).
    child.kill('SIGKILL');
    throw spawnError(spec, errorText(error), error);
  }
}

/** Where libc looks when PATH is not set. */
const DEFAULT_PATH = '/usr/local/bin:/bin:/usr/bin';

/**
 * The file that will be run: as execvp(3) finds it, and known to be a program.
 * @throws CommandNotFoundError when there is no such file, or it is not executable
 * @throws SpawnError when the cwd is missing, or the file is no program
 */
export function findCommand(spec: CompleteSpec): string {
  const cwd = spec.cwd ?? process.cwd();
  if (!isFolder(cwd)) throw spawnError(spec, `the working directory "${cwd}" does not exist`, undefined);
  const candidates = spec.command.includes('/')
    ? [resolve(cwd, spec.command)]
    : (environment(spec).PATH ?? DEFAULT_PATH).split(delimiter).map((folder) => resolve(cwd, folder, spec.command));
  const executable = candidates.find(isExecutableFile);
  if (executable === undefined) throw commandNotFoundError(spec, candidates);
  if (!isProgram(executable)) {
    throw spawnError(spec, `"${executable}" is not a program: it has no #! line and no known binary format`, undefined);
  }
  return executable;
}

/** What the process finds in its environment. */
export function environment({ env }: CompleteSpec): Record<string, string> {
  const merged = Object.entries({ ...process.env, ...env });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** ELF, Mach-O (both byte orders, 32 and 64 bit, universal), or a script with an interpreter. */
const MAGIC_NUMBERS = ['7f454c46', 'feedface', 'feedfacf', 'cefaedfe', 'cffaedfe', 'cafebabe'];

function isProgram(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch {
    // EACCES: it may be executable without being readable. The kernel will judge.
    return true;
  }
  try {
    const start = Buffer.alloc(4);
    readSync(fd, start, 0, 4, 0);
    return start.toString('latin1').startsWith('#!') || MAGIC_NUMBERS.includes(start.toString('hex'));
  } finally {
    closeSync(fd);
  }
}

function commandNotFoundError(spec: CompleteSpec, candidates: readonly string[]): CommandNotFoundError {
  const existing = candidates.find((path) => existsSync(path));
  const why =
    existing !== undefined
      ? `"${existing}" is not an executable file`
      : spec.command.includes('/')
        ? 'no such file'
        : 'it is not on PATH';
  const hint = spec.installHint === undefined ? '' : `. ${spec.installHint}`;
  return new CommandNotFoundError(`Cannot start ${spec.name}: command "${spec.command}" not found: ${why}${hint}`, {
    command: spec.command,
  });
}
