/** What the system throws where nobody expected it, most of all EMFILE, reaches callers as an error of the contract. */
import { errorText } from '../shared/error-text.js';
import { LockUnavailableError, SpawnError } from '../shared/errors.js';
import type { CompleteSpec } from './process-spec.js';

/** @throws SpawnError for an error of the system, everything else as it is */
export async function asSpawnErrors<T>({ name }: CompleteSpec, act: () => Promise<T>): Promise<T> {
  return await translating(
    act,
    (error) => new SpawnError(`Cannot start ${name}: ${errorText(error)}`, { cause: error }),
  );
}

/** @throws LockUnavailableError for an error of the system, everything else as it is */
export async function asLockErrors<T>({ lockFile: path }: CompleteSpec, act: () => Promise<T>): Promise<T> {
  const message = (error: unknown) => `Cannot tell who holds "${path}": ${errorText(error)}`;
  return await translating(act, (error) => new LockUnavailableError(message(error), { path, cause: error }));
}

async function translating<T>(act: () => Promise<T>, translate: (error: Error) => Error): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? translate(error) : error;
  }
}
