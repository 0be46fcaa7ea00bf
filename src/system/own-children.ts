/** What this thread has spawned itself, and knows of without any file: somebody may have removed the folder. */

import { isAlive, type ProcessInfo } from './process-table.js';

/** By the lock file that it was spawned under. */
const spawned = new Map<string, ProcessInfo>();

/** @param process another one than before when it has put itself into the background */
export function rememberSpawned(lockFile: string, process: ProcessInfo): void {
  spawned.set(lockFile, process);
}

/** Undefined when it is dead, or was spawned by somebody else. */
export function livingSpawned(lockFile: string): ProcessInfo | undefined {
  const process = spawned.get(lockFile);
  if (process === undefined || isAlive(process)) return process;
  spawned.delete(lockFile);
  return undefined;
}
