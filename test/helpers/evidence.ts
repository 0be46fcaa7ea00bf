/** What the operating system reports, asked without the code under test. */
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { hasProc, listProcess } from './portable-view.js';

/**
 * Start time in ticks since boot, or as ps(1) prints it; with the PID it identifies a process. Undefined when the
 * process is gone, is a zombie, or is being reaped.
 */
export function startTicks(pid: number): string | undefined {
  const fields = statFields(pid);
  const isOver = fields === undefined || ('ZX'.includes(fields[0] ?? '') && Number(fields[17]) <= 1);
  return isOver ? undefined : fields[19];
}

export function isZombie(pid: number): boolean {
  return statFields(pid)?.[0] === 'Z';
}

/**
 * Whether the process exists and is not a zombie. A killed process with several threads closes its last descriptors
 * only when its last thread is gone.
 */
export function isRunningProcess(pid: number): boolean {
  return startTicks(pid) !== undefined;
}

/** A flag in /proc/PID/stat: the kernel sets it before it closes the first descriptor of an exiting process. */
const PF_EXITING = 0x4;

/**
 * Whether the process is exiting or gone. A process that was sent SIGKILL and was not scheduled since still looks
 * alive.
 */
export function hasBegunToEnd(pid: number): boolean {
  return !isRunningProcess(pid) || (Number(statFields(pid)?.[6]) & PF_EXITING) !== 0;
}

/** Sends SIGKILL to this PID alone. The process may already have ended by itself. */
export function killUnlessGone(pid: number): void {
  signalUnlessGone(pid, 'SIGKILL');
}

/** @returns whether the process was there */
export function signalUnlessGone(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    return false;
  }
}

/** Start time as a PID file records it: a Unix second. */
export function startSecond(pid: number): number {
  if (!hasProc) return Date.parse(startTicks(pid) ?? '') / 1000;
  const bootTime = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]);
  return Math.floor(bootTime + Number(startTicks(pid)) / 100);
}

/** Records the PIDs (for a group, its leader) that the library signals from this process from now on. */
export function watchSignals(test: Pick<TestContext, 'mock'>): { targets(): number[] } {
  const { mock } = test.mock.method(process, 'kill');
  return {
    targets: () => [...new Set(mock.calls.map((call) => Math.abs(call.arguments[0])))],
  };
}

/** The fields of /proc/PID/stat from the third one, the state; undefined when the process is gone. */
export function statFields(pid: number): string[] | undefined {
  if (!hasProc) return listProcess(pid)?.fields;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    // ENOENT, ESRCH: the process is gone.
    return undefined;
  }
}
