import {
  type AcquireOptions,
  acquireLock,
  type FileLock,
  isLocked,
  isSupported,
  LockHeldError,
  lockHolders,
  releaseLock,
  type WaitForLockOptions,
  waitForLock,
  withLock,
} from 'flock-process';

const options: AcquireOptions = { mode: 0o600 };
const lock: FileLock = acquireLock('types.lock', options);
const descriptor: number = lock.fd;
const facts: [path: string, held: boolean, isIntact: boolean] = [lock.path, lock.held, lock.isIntact()];
releaseLock(lock);

export async function whenFree(path: string, signal: AbortSignal): Promise<FileLock | undefined> {
  const waiting: WaitForLockOptions = { ...options, timeoutMs: 1_000, signal };
  try {
    return await waitForLock(path, waiting);
  } catch (error) {
    if (error instanceof LockHeldError && isLocked(error.path)) return undefined;
    throw error;
  }
}

export async function report(): Promise<[typeof facts, pids: number[]]> {
  using own = acquireLock('types.lock');
  own.handOver();
  return [facts, await lockHolders(own.path)];
}

// @ts-expect-error a path is a string
acquireLock(descriptor);
// @ts-expect-error the path of a lock is read-only
lock.path = 'another.lock';
// @ts-expect-error the option is called timeoutMs
waitForLock('types.lock', { timeout: 1_000 });

const supported: boolean = isSupported;
const onWait = (holders: readonly number[]) => holders.length;
export const work: Promise<string> = withLock('types.lock', ({ path }) => `${path} ${supported}`, { onWait });
