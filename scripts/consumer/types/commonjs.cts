import { acquireLock, type FileLock, FlockProcessError, type ProcessManager } from 'flock-process';

/** Both kinds of module have the same types: a lock that one of them made can be passed to the other. */
export async function releaseElsewhere(path: string): Promise<void> {
  const { releaseLock } = await import('flock-process');
  const lock: FileLock = acquireLock(path);
  releaseLock(lock);
}

export async function stateOf(manager: ProcessManager): Promise<string> {
  try {
    return (await manager.status()).state;
  } catch (error) {
    if (error instanceof FlockProcessError) return error.code;
    throw error;
  }
}
