/** Start the managed process: the only user of node:child_process for it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { errorCode, errorText } from '../shared/error-text.js';
import { environment, spawnError } from './command.js';
import type { OpenLog } from './log-file.js';
import type { CompleteSpec } from './process-spec.js';
import { type ProcessInfo, processTable } from './process-table.js';
import { tetherFor } from './tether.js';

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
  const env = environment(spec);
  const options = { cwd: spec.cwd, detached: true };
  const stdio = ['ignore' as const, log.fd, log.fd, lockFd];
  const tether = tetherFor(spec, executable, env);
  let child: ChildProcess;
  try {
    child =
      tether === undefined
        ? spawn(executable, spec.args, { ...options, env, stdio, argv0: spec.command })
        : spawn(tether.command, tether.args, { ...options, env: tether.env, stdio: [...stdio, tether.watched] });
  } catch (error) {
    throw spawnError(spec, errorText(error), error);
  } finally {
    tether?.close();
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
  tether?.attach(child);
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
