/**
 * What can be seen from outside: which processes have a file in a folder open, what the folder contains, which state a
 * process is in.
 */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { statFields } from './evidence.js';
import { hasProc, listProcessesIn } from './portable-view.js';
import { eventually } from './waiting.js';

/**
 * PIDs of all processes, this one included, that have a file in the folder open or have it as working directory. A
 * zombie has no open files.
 */
export function processesIn(folder: string): number[] {
  if (!hasProc) return listProcessesIn(folder);
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .filter((pid) => linksOf(pid).some((link) => link === folder || link.startsWith(`${folder}/`)))
    .map(Number);
}

/** The links of a living thread: when the main thread has ended, the others still have the files open. */
function linksOf(pid: string): string[] {
  const links = linksOfThread(`/proc/${pid}`);
  return links.length > 0
    ? links
    : namesIn(`/proc/${pid}/task`).flatMap((id) => linksOfThread(`/proc/${pid}/task/${id}`));
}

function linksOfThread(path: string): string[] {
  return ['cwd', ...namesIn(`${path}/fd`).map((fd) => `fd/${fd}`)].flatMap((name) => linkOf(`${path}/${name}`) ?? []);
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // ENOENT, ESRCH: the process is gone.
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // ENOENT, ESRCH: the descriptor was closed since, or the process is a zombie.
  }
}

/** What must hold after a failed start: no process (each would have its log open in the folder), no lock, no record. */
export function assertNothingLeft(spec: ProcessSpec): void {
  const { lockFile, pidFile } = new ProcessManager(spec).spec;
  assert.deepEqual(processesIn(spec.stateDir), [], 'processes');
  assert.equal(isLocked(lockFile), false, 'the lock');
  assert.equal(existsSync(pidFile), false, 'the PID file');
}

/** Everything that a write anywhere in the folder would change. */
export function snapshot(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return Object.fromEntries(
    ['.', ...names.sort()].map((name) => {
      const { ino, mode, size, mtimeNs, ctimeNs } = lstatSync(join(folder, name), { bigint: true });
      return [name, [ino, mode, size, mtimeNs, ctimeNs].join(' ')];
    }),
  );
}

/** The state letter of proc(5): R, S, T (stopped), Z (zombie), …; undefined when it is gone. */
export function stateOf(pid: number): string | undefined {
  return statFields(pid)?.[0];
}

export { isRunningProcess as isRunning } from './evidence.js';

export async function reachesState(pid: number, state: string): Promise<void> {
  await eventually(`PID ${pid} is in state ${state}`, () => stateOf(pid) === state);
}

/** Waits for a line in the log and returns its match. */
export async function logged(logFile: string, pattern: RegExp): Promise<RegExpMatchArray> {
  return await eventually(`${pattern} is in ${logFile}`, () =>
    existsSync(logFile) ? readFileSync(logFile, 'utf8').match(pattern) : null,
  );
}
