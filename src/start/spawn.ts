/** Start the managed process: the only user of node:child_process for it. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';
import type { OpenLog } from '../state/log-file.js';
import type { CompleteSpec } from '../state/process-spec.js';
import { CommandNotFoundError, errorCode, errorText, spawnError } from '../support/errors.js';
import { isExecutableFile, isFolder } from '../support/files.js';
import { builtIn } from '../support/load.js';
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
  const { spawn } = builtIn('node:child_process');
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
 * The file that will be run, as execvp(3) finds it. Of a missing command and a missing cwd the system says the same, ENOENT.
 * @throws CommandNotFoundError when there is no such file, or it is not executable
 * @throws SpawnError when the cwd is missing
 */
export function findCommand(spec: CompleteSpec): string {
  const cwd = spec.cwd ?? process.cwd();
  if (!isFolder(cwd)) throw spawnError(spec, `the working directory "${cwd}" does not exist`, undefined);
  const candidates = spec.command.includes('/')
    ? [resolve(cwd, spec.command)]
    : (environment(spec).PATH ?? DEFAULT_PATH).split(delimiter).map((folder) => resolve(cwd, folder, spec.command));
  const executable = candidates.find(isExecutableFile);
  if (executable === undefined) throw commandNotFoundError(spec, candidates);
  return executable;
}

/** What the process finds in its environment. */
function environment({ env }: CompleteSpec): Record<string, string> {
  const merged = Object.entries({ ...process.env, ...env });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== undefined));
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
