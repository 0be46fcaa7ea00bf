/** What the system says, asked without the code under test. */
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { hasProc, listProcess } from './portable-view.js';

/** Start time in ticks since the boot, or as ps(1) has it: with the PID it identifies a process. Undefined when it is gone, or a zombie, or being collected. */
export function startTicks(pid: number): string | undefined {
  const fields = statFields(pid);
  const isOver = fields === undefined || ('ZX'.includes(fields[0] ?? '') && Number(fields[17]) <= 1);
  return isOver ? undefined : fields[19];
}

export function isZombie(pid: number): boolean {
  return statFields(pid)?.[0] === 'Z';
}

/** There, and not a zombie. A killed process with several threads has not closed all that it had before the last one is gone. */
export function isRunningProcess(pid: number): boolean {
  return startTicks(pid) !== undefined;
}

/** Of the flags in /proc/PID/stat: set before the kernel closes the first descriptor. */
const PF_EXITING = 0x4;

/** On its way out, or gone. Before that one who was sent SIGKILL and had no turn yet looks like any other. */
export function hasBegunToEnd(pid: number): boolean {
  return !isRunningProcess(pid) || (Number(statFields(pid)?.[6]) & PF_EXITING) !== 0;
}

/** SIGKILL to this PID alone. It may have ended by itself meanwhile. */
export function killUnlessGone(pid: number): void {
  signalUnlessGone(pid, 'SIGKILL');
}

/** @returns whether it was there */
export function signalUnlessGone(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    return false;
  }
}

/** Start time as a PID file holds it: a Unix second. */
export function startSecond(pid: number): number {
  if (!hasProc) return Date.parse(startTicks(pid) ?? '') / 1000;
  const bootTime = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]);
  return Math.floor(bootTime + Number(startTicks(pid)) / 100);
}

/** From now on: the processes (the leader, for a group) that the library signals from this process. */
export function watchSignals(test: Pick<TestContext, 'mock'>): { targets(): number[] } {
  const { mock } = test.mock.method(process, 'kill');
  return {
    targets: () => [...new Set(mock.calls.map((call) => Math.abs(call.arguments[0])))],
  };
}

/** The fields of /proc/PID/stat from the third one, the state; undefined when it is gone. */
export function statFields(pid: number): string[] | undefined {
  if (!hasProc) return listProcess(pid)?.fields;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    // ENOENT, ESRCH: it is gone.
    return undefined;
  }
}
