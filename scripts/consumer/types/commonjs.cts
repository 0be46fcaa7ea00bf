import { acquireLock, type FileLock, FlockProcessError, type ProcessManager } from 'flock-process';

/** The two kinds of module have one surface: what the one made goes to the other. */
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
