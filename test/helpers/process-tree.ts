/** Who was started by whom, as the system says. */
import { readFileSync } from 'node:fs';

/** PIDs of the children of this process that are there now, begun by whichever of its threads. */
export function children(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
