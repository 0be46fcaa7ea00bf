import {
  CommandNotFoundError,
  CrashLoopError,
  EarlyExitError,
  FlockBindingError,
  FlockProcessError,
  LockDroppedError,
  LockHeldError,
  LockUnavailableError,
  OptionsMismatchError,
  PortInUseError,
  PredecessorError,
  SpawnError,
  StartTimeoutError,
  StateFileError,
  StoppedError,
  StopTimeoutError,
  UnhealthyError,
  UnsupportedPlatformError,
} from 'flock-process';

/** Uses the fields that only one error class has. */
export function explain(error: unknown): string {
  if (error instanceof LockHeldError || error instanceof LockUnavailableError || error instanceof StateFileError) {
    return error.path;
  }
  if (error instanceof CommandNotFoundError) return error.command;
  if (error instanceof PortInUseError) return `${error.port.toFixed()}: ${error.pid?.toFixed() ?? 'hidden'}`;
  if (error instanceof EarlyExitError) return [...error.logTail, error.exitCode?.toFixed(), error.signal].join('\n');
  if (error instanceof StartTimeoutError) return `${error.timeoutMs.toFixed()} ${error.status.state} ${error.logTail}`;
  if (error instanceof UnhealthyError) return error.status.state;
  if (error instanceof LockDroppedError || error instanceof PredecessorError) return error.pid.toFixed();
  if (error instanceof StopTimeoutError) return error.holders.map((pid) => pid.toFixed()).join();
  if (error instanceof CrashLoopError) return `${error.restarts.toFixed()} ${error.logTail.length} ${error.lastError}`;
  if (error instanceof OptionsMismatchError) return `${error.key ?? error.differences}`;
  if (isPlain(error)) return error.message;
  return error instanceof FlockProcessError ? error.code : String(error);
}

function isPlain(error: unknown): error is FlockBindingError | SpawnError | StoppedError | UnsupportedPlatformError {
  return [FlockBindingError, SpawnError, StoppedError, UnsupportedPlatformError].some((kind) => error instanceof kind);
}

const code: string = new FlockProcessError('ERR_OWN', 'one of my own', { cause: explain }).code;
// @ts-expect-error a code is a string
code satisfies number;
