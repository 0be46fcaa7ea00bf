/** Which process started which, according to the operating system. */
import { readdirSync, readFileSync } from 'node:fs';

/** PIDs of the present children of this process, whichever of its threads started them. */
export function children(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  const listed = threads.flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').split(' '));
  return listed.filter(Boolean).map(Number);
}
