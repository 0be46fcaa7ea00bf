/** Who was started by whom, as the system says. */
import { readdirSync, readFileSync } from 'node:fs';

/** PIDs of the children of this process that are there now, begun by whichever of its threads. */
export function children(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  const listed = threads.flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').split(' '));
  return listed.filter(Boolean).map(Number);
}
