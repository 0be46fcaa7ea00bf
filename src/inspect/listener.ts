/** Who listens on a port, and whether it is one of ours. */
import type { CompleteSpec } from '../state/process-spec.js';
import { PortInUseError } from '../support/errors.js';
import type { ProcessInfo } from '../system/process-info.js';
import { processTable } from '../system/process-table.js';
import { LOCK_FD } from './holder.js';

/**
 * Evidence that it is not our process that answers on the port: a visible process outside of its family listens there, and
 * is older than it or runs under a lock of its own. Nothing follows when no such process is seen (under `docker run -p` a
 * proxy listens, younger than its container's client).
 */
export function foreignListener({ port, lockFile }: CompleteSpec, ours: ProcessInfo): ProcessInfo | undefined {
  if (port === undefined) return undefined;
  const table = processTable();
  const processes = table.listeners(port, ours.pid);
  if (processes.some((process) => isFamily(process, ours))) return undefined;
  const isManagedElsewhere = ({ pid }: ProcessInfo) => table.lostLock(pid, LOCK_FD, lockFile) !== undefined;
  return processes.find((process) => table.age(process) > table.age(ours) || isManagedElsewhere(process));
}

export function portInUseError({ name }: Pick<CompleteSpec, 'name'>, port: number, pid?: number): PortInUseError {
  const who = pid === undefined ? 'another process' : `another process (PID ${pid})`;
  return new PortInUseError(`Cannot start ${name}: ${who} listens on port ${port}`, { port, pid });
}

/** Of its session, or begun by it: a process that runs under a lock of its own can be ours all the same. */
function isFamily(process: ProcessInfo, ours: ProcessInfo): boolean {
  if (process.sessionId === ours.sessionId) return true;
  let ancestor: ProcessInfo | undefined = process;
  while (ancestor !== undefined && ancestor.pid > 1 && ancestor.pid !== ours.pid) {
    ancestor = processTable().lookUp(ancestor.parentPid);
  }
  return ancestor?.pid === ours.pid;
}

export function visibleListener(port: number): ProcessInfo | undefined {
  return processTable().listeners(port)[0];
}
