/** Which processes are blocked in flock(2), according to the kernel. */
import { readFileSync } from 'node:fs';
import { children } from './process-tree.js';
import { eventually } from './waiting.js';

/**
 * /proc/locks lists a waiter on its own line behind its holder: `1: -> FLOCK  ADVISORY  WRITE 4078 fe:00:9979331 0
 * EOF`.
 */
function isBlockedInFlock(pid: number): boolean {
  return new RegExp(`-> FLOCK +ADVISORY +WRITE ${pid} `).test(readFileSync('/proc/locks', 'latin1'));
}

/**
 * PID of the helper child that waits for a lock on behalf of this process. @param former an earlier helper to ignore
 */
export async function blockedHelper(pid: number, former?: number): Promise<number> {
  const isMeant = (child: number) => child !== former && isBlockedInFlock(child);
  return await eventually('a child is blocked in flock(2)', () => children(pid).find(isMeant));
}
