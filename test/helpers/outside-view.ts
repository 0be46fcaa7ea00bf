/** What can be seen from outside: who has something open in a folder, what lies in it, in which state a process is. */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { statFields } from './evidence.js';
import { hasProc, listProcessesIn } from './portable-view.js';
import { eventually } from './waiting.js';

/** PIDs of all, this process included, that have a file in the folder open, or work in it. Zombies have nothing open. */
export function processesIn(folder: string): number[] {
  if (!hasProc) return listProcessesIn(folder);
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .filter((pid) => linksOf(pid).some((link) => link === folder || link.startsWith(`${folder}/`)))
    .map(Number);
}

/** When its first thread has ended, what the others still have. */
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
    return []; // ENOENT, ESRCH: it is gone.
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // ENOENT, ESRCH: closed meanwhile, or a zombie.
  }
}

/** As after a start that failed: no process (each has its log open in the folder), no lock, no record. */
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
  await eventually(`PID ${pid} in state ${state}`, () => stateOf(pid) === state);
}

/** Waits for a line in the log and returns its match. */
export async function logged(logFile: string, pattern: RegExp): Promise<RegExpMatchArray> {
  return await eventually(`${pattern} in ${logFile}`, () =>
    existsSync(logFile) ? readFileSync(logFile, 'utf8').match(pattern) : null,
  );
}
