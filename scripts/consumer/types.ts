import { acquireLock, type FileLock, isLocked, LockHeldError, releaseLock, waitForLock } from 'flock-process';

const lock: FileLock = acquireLock('types.lock', { mode: 0o600 });
const descriptor: number = lock.fd;
releaseLock(lock);

export async function whenFree(path: string, signal: AbortSignal): Promise<FileLock | undefined> {
  try {
    return await waitForLock(path, { timeoutMs: 1_000, signal });
  } catch (error) {
    if (error instanceof LockHeldError && isLocked(error.path)) return undefined;
    throw error;
  }
}

// @ts-expect-error a path is text
acquireLock(descriptor);
