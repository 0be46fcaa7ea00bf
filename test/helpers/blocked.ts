/** Who is blocked in flock(2), as the kernel says. */
import { readFileSync } from 'node:fs';
import { children } from './process-tree.js';
import { eventually } from './waiting.js';

/** A waiter is a line of its own behind that of the holder: `1: -> FLOCK  ADVISORY  WRITE 4078 fe:00:9979331 0 EOF`. */
function isBlockedInFlock(pid: number): boolean {
  return new RegExp(`-> FLOCK +ADVISORY +WRITE ${pid} `).test(readFileSync('/proc/locks', 'latin1'));
}

/** PID of the child that waits for a lock in the place of this process. @param former one that is not meant */
export async function blockedHelper(pid: number, former?: number): Promise<number> {
  const isMeant = (child: number) => child !== former && isBlockedInFlock(child);
  return await eventually('a child that is blocked in flock(2)', () => children(pid).find(isMeant));
}
