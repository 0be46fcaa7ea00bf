/**
 * The errors that this library throws on purpose: one class per decision that a caller can take, all with one base.
 * The wording is made where the facts are known; the classes carry the facts.
 */
import { types } from 'node:util';
import type { Status } from './status-report.js';

/** Base of every error the library throws on purpose. `code` is stable across versions; `cause` holds the original. */
export class FlockProcessError extends Error {
  /** Stable identifier such as `ERR_LOCK_HELD`: compare this one, not the message. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    // Made of the code: a minifier gives the class another name.
    this.name = nameOf(code);
  }
}

/** ERR_LOCK_HELD: another holder has the lock. */
export class LockHeldError extends FlockProcessError {
  /** Absolute path of the lock file. */
  readonly path: string;

  constructor(message: string, { path, ...options }: ErrorOptions & { path: string }) {
    super('ERR_LOCK_HELD', message, options);
    this.path = path;
  }
}

/** ERR_LOCK_UNAVAILABLE: the file cannot be opened, locked or examined at all. It says nothing about whether it is held. */
export class LockUnavailableError extends FlockProcessError {
  /** Absolute path of the lock file. */
  readonly path: string;

  constructor(message: string, { path, ...options }: ErrorOptions & { path: string }) {
    super('ERR_LOCK_UNAVAILABLE', message, options);
    this.path = path;
  }
}

/** ERR_FLOCK_BINDING: neither fs-ext nor a fallback can call flock(2). The message says how to fix it. */
export class FlockBindingError extends FlockProcessError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_FLOCK_BINDING', message, options);
  }
}

/** ERR_UNSUPPORTED_PLATFORM: this system has no flock(2) that a child can inherit. */
export class UnsupportedPlatformError extends FlockProcessError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_UNSUPPORTED_PLATFORM', message, options);
  }
}

/** ERR_COMMAND_NOT_FOUND: no such file, or not executable. */
export class CommandNotFoundError extends FlockProcessError {
  /** The command as it was configured. */
  readonly command: string;

  constructor(message: string, { command, ...options }: ErrorOptions & { command: string }) {
    super('ERR_COMMAND_NOT_FOUND', message, options);
    this.command = command;
  }
}

/** ERR_SPAWN: the system refused to start it: no such cwd, E2BIG, EAGAIN, not a program, or a file of ours that cannot be written (`cause`). */
export class SpawnError extends FlockProcessError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_SPAWN', message, options);
  }
}

/** ERR_PORT_IN_USE: somebody else listens there. */
export class PortInUseError extends FlockProcessError {
  readonly port: number;
  /** The process that listens, where the system shows it. */
  readonly pid: number | undefined;

  constructor(message: string, { port, pid, ...options }: ErrorOptions & { port: number; pid: number | undefined }) {
    super('ERR_PORT_IN_USE', message, options);
    this.port = port;
    this.pid = pid;
  }
}

/** ERR_EARLY_EXIT: the process ended before it was ready. */
export class EarlyExitError extends FlockProcessError {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines that this start logged. */
  readonly logTail: readonly string[];

  constructor(
    message: string,
    {
      exitCode,
      signal,
      logTail,
      ...options
    }: ErrorOptions & { exitCode: number | null; signal: NodeJS.Signals | null; logTail: readonly string[] },
  ) {
    super('ERR_EARLY_EXIT', message, options);
    this.exitCode = exitCode;
    this.signal = signal;
    this.logTail = logTail;
  }
}

/** ERR_START_TIMEOUT: the process that this call spawned was not ready in time. It was ended. */
export class StartTimeoutError extends FlockProcessError {
  readonly timeoutMs: number;
  /** As it was when time ran out, before the process was ended. */
  readonly status: Status;
  /** The last lines that this start logged. */
  readonly logTail: readonly string[];

  constructor(
    message: string,
    {
      timeoutMs,
      status,
      logTail,
      ...options
    }: ErrorOptions & { timeoutMs: number; status: Status; logTail: readonly string[] },
  ) {
    super('ERR_START_TIMEOUT', message, options);
    this.timeoutMs = timeoutMs;
    this.status = status;
    this.logTail = logTail;
  }
}

/** ERR_UNHEALTHY: it runs already, and did not become healthy while we waited. It was left alone. */
export class UnhealthyError extends FlockProcessError {
  readonly status: Status;

  constructor(message: string, { status, ...options }: ErrorOptions & { status: Status }) {
    super('ERR_UNHEALTHY', message, options);
    this.status = status;
  }
}

/** ERR_STOPPED: a stop() called after this start() ended it. */
export class StoppedError extends FlockProcessError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_STOPPED', message, options);
  }
}

/** ERR_LOCK_DROPPED: the process closed the descriptor it inherited, so the lock cannot live with it. It was stopped. */
export class LockDroppedError extends FlockProcessError {
  readonly pid: number;

  constructor(message: string, { pid, ...options }: ErrorOptions & { pid: number }) {
    super('ERR_LOCK_DROPPED', message, options);
    this.pid = pid;
  }
}

/** ERR_STOP_TIMEOUT: still held 5 s after SIGKILL, or by a process that may not be signalled. */
export class StopTimeoutError extends FlockProcessError {
  /** PIDs that still held it. */
  readonly holders: readonly number[];

  constructor(message: string, { holders, ...options }: ErrorOptions & { holders: readonly number[] }) {
    super('ERR_STOP_TIMEOUT', message, options);
    this.holders = holders;
  }
}

/** ERR_CRASH_LOOP: it went down more often than `giveUpAfter` allows. Nothing is left running. */
export class CrashLoopError extends FlockProcessError {
  /** Restarts within the window. */
  readonly restarts: number;
  /** What the last failed start threw; undefined when every start went well. */
  readonly lastError: unknown;
  /** The last lines of the log. */
  readonly logTail: readonly string[];

  constructor(
    message: string,
    {
      restarts,
      lastError,
      logTail,
      ...options
    }: ErrorOptions & { restarts: number; lastError: unknown; logTail: readonly string[] },
  ) {
    super('ERR_CRASH_LOOP', message, { cause: lastError, ...options });
    this.restarts = restarts;
    this.lastError = lastError;
    this.logTail = logTail;
  }
}

/** ERR_OPTIONS_MISMATCH: the shared instance of this key was started with another spec; says which fields differ. */
export class OptionsMismatchError extends FlockProcessError {
  readonly key: string;

  constructor(message: string, { key, ...options }: ErrorOptions & { key: string }) {
    super('ERR_OPTIONS_MISMATCH', message, options);
    this.key = key;
  }
}

/** ERR_STATE_FILE: the process was stopped, but the mark that keeps supervisors from bringing it back could not be written. */
export class StateFileError extends FlockProcessError {
  /** Absolute path of the mark, `NAME.down`. */
  readonly path: string;

  constructor(message: string, { path, ...options }: ErrorOptions & { path: string }) {
    super('ERR_STATE_FILE', message, options);
    this.path = path;
  }
}

/** `ERR_LOCK_HELD` is the code of a `LockHeldError`. */
function nameOf(code: string): string {
  const words = code.toLowerCase().split('_').slice(1);
  return `${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')}Error`;
}

/** The system's short name for why a call failed (`EACCES`, `ENOENT`, …), or undefined. */
export function errorCode(error: unknown): string | undefined {
  return isError(error) && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Also when it is of another realm: in jest, and in vitest's vm pools, the errors of `fs` are. */
function isError(error: unknown): error is Error {
  return error instanceof Error || types.isNativeError(error);
}

/** What went wrong, for use inside a longer message. */
export function errorText(error: unknown): string {
  return isError(error) ? error.message : String(error);
}

/** Also for what comes before the spawn: a log or a folder that cannot be written. */
export function spawnError({ name }: { name: string }, why: string, cause: unknown): SpawnError {
  return new SpawnError(`Cannot start ${name}: ${why}`, { cause });
}

export function stopTimeoutError(
  { name, lockFile }: { name: string; lockFile: string },
  holders: readonly number[],
): StopTimeoutError {
  const who = holders.length === 0 ? 'a process that cannot be seen' : `PID ${holders.join(', ')}`;
  return new StopTimeoutError(`Cannot stop ${name}: lock "${lockFile}" is still held by ${who}`, { holders });
}

/** @throws SpawnError for an error of the system, everything else as it is */
export async function asSpawnErrors<T>({ name }: { name: string }, act: () => Promise<T>): Promise<T> {
  return await translating(
    act,
    (error) => new SpawnError(`Cannot start ${name}: ${errorText(error)}`, { cause: error }),
  );
}

/** @throws LockUnavailableError for an error of the system, everything else as it is */
export async function asLockErrors<T>({ lockFile: path }: { lockFile: string }, act: () => Promise<T>): Promise<T> {
  const message = (error: unknown) => `Cannot tell who holds "${path}": ${errorText(error)}`;
  return await translating(act, (error) => new LockUnavailableError(message(error), { path, cause: error }));
}

async function translating<T>(act: () => Promise<T>, translate: (error: Error) => Error): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw isError(error) && 'syscall' in error ? translate(error) : error;
  }
}

/** @throws UnsupportedPlatformError on Windows, before anything is opened or made there */
export function assertSupportedPlatform(): void {
  if (process.platform !== 'win32') return;
  throw new UnsupportedPlatformError(
    'flock-process needs flock(2) and descriptors that a child inherits: it runs on Linux, macOS and the BSDs, not on Windows (WSL is Linux)',
  );
}
