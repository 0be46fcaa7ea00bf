/** What the system says, asked without the code under test. */
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';

/** Start time in ticks since the boot: with the PID it identifies a process. Undefined when it is gone, or a zombie. */
export function startTicks(pid: number): string | undefined {
  const fields = statFields(pid);
  return fields === undefined || fields[0] === 'Z' ? undefined : fields[19];
}

export function isZombie(pid: number): boolean {
  return statFields(pid)?.[0] === 'Z';
}

export function isRunningProcess(pid: number): boolean {
  return startTicks(pid) !== undefined;
}

/** Start time as a PID file holds it: a Unix second. */
export function startSecond(pid: number): number {
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

function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    // ENOENT, ESRCH: it is gone.
    return undefined;
  }
}
