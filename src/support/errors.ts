/**
 * The errors that this library throws on purpose: one class per decision that a caller can take, all with one base. The
 * code that knows the facts words the message; the classes carry the facts.
 */
import { inspect } from 'node:util';
import type { Status } from './status-report.js';

/**
 * Base of every error the library throws on purpose. `code` is stable across versions; `cause` holds the original.
 * `instanceof` also recognises the errors of another copy of the library in this process.
 */
export class FlockProcessError extends Error {
  /** Stable identifier such as `ERR_LOCK_HELD`: compare this one, not the message. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
brand(FlockProcessError, 'FlockProcessError', (asked) => asked === FlockProcessError);

/** What a constructor takes after the message: a cause, and the fields that the class `Self` declares, if any. */
type Facts<Self> = keyof Self extends keyof FlockProcessError
  ? [options?: ErrorOptions]
  : [facts: ErrorOptions & Omit<Self, keyof FlockProcessError>];

/** The base of the class with this code. Its name is made from the code, because a minifier renames the class. */
function errorClass<Self>(code: string): new (message: string, ...facts: Facts<Self>) => FlockProcessError {
  class SpecificError extends FlockProcessError {
    constructor(message: string, ...[facts]: Facts<Self>) {
      super(code, message, facts);
      Object.assign(this, facts);
    }
  }
  const words = code.toLowerCase().split('_').slice(1);
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  brand(SpecificError, `${name}Error`, (asked) => Object.getPrototypeOf(asked) === SpecificError);
  return SpecificError;
}

/**
 * A symbol on the prototype lets two copies of the library in one process recognise each other's errors.
 * @param isOurs false for a class that a caller derives from one of ours: it gets the ordinary `instanceof`
 */
function brand(errorClass: { prototype: object }, name: string, isOurs: (asked: unknown) => boolean): void {
  const symbol = Symbol.for(`flock-process.${name}`);
  Object.defineProperties(errorClass.prototype, { name: { value: name, writable: true }, [symbol]: { value: true } });
  Object.defineProperty(errorClass, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      if (!isOurs(this)) return Function.prototype[Symbol.hasInstance].call(this, value);
      return (value as Record<symbol, unknown> | null | undefined)?.[symbol] === true;
    },
  });
}

/** ERR_LOCK_HELD: another holder has the lock. */
export class LockHeldError extends errorClass<LockHeldError>('ERR_LOCK_HELD') {
  /** Absolute path of the lock file. */
  declare readonly path: string;
}

/** ERR_LOCK_UNAVAILABLE: the file cannot be opened, locked or examined. Whether the lock is held remains unknown. */
export class LockUnavailableError extends errorClass<LockUnavailableError>('ERR_LOCK_UNAVAILABLE') {
  /** Absolute path of the lock file. */
  declare readonly path: string;
}

/** ERR_FLOCK_BINDING: neither fs-ext nor a fallback can call flock(2). The message says how to fix it. */
export class FlockBindingError extends errorClass('ERR_FLOCK_BINDING') {}

/** ERR_UNSUPPORTED_PLATFORM: this system has no flock(2) that a child can inherit. */
export class UnsupportedPlatformError extends errorClass('ERR_UNSUPPORTED_PLATFORM') {}

/** ERR_COMMAND_NOT_FOUND: no such file, or not executable. */
export class CommandNotFoundError extends errorClass<CommandNotFoundError>('ERR_COMMAND_NOT_FOUND') {
  /** The command as it was configured. */
  declare readonly command: string;
}

/** ERR_SPAWN: the system refused (`cause`): no such cwd, E2BIG, EAGAIN, not a program, no folder for the log or PID file. */
export class SpawnError extends errorClass('ERR_SPAWN') {}

/** ERR_PORT_IN_USE: another process listens on the port. */
export class PortInUseError extends errorClass<PortInUseError>('ERR_PORT_IN_USE') {
  declare readonly port: number;
  /** The process that listens, where the system shows it. */
  declare readonly pid: number | undefined;
}

/** ERR_EARLY_EXIT: the process ended before it was ready. */
export class EarlyExitError extends errorClass<EarlyExitError>('ERR_EARLY_EXIT') {
  declare readonly exitCode: number | null;
  declare readonly signal: NodeJS.Signals | null;
  /** The last lines that this start logged. */
  declare readonly logTail: readonly string[];
}

/** ERR_START_TIMEOUT: the process that this call spawned was not ready in time. It was ended. */
export class StartTimeoutError extends errorClass<StartTimeoutError>('ERR_START_TIMEOUT') {
  declare readonly timeoutMs: number;
  /** The status when time ran out, before the process was ended. */
  declare readonly status: Status;
  /** The last lines that this start logged. */
  declare readonly logTail: readonly string[];
}

/** ERR_UNHEALTHY: the process runs already, and did not become healthy while this call waited. It was left alone. */
export class UnhealthyError extends errorClass<UnhealthyError>('ERR_UNHEALTHY') {
  declare readonly status: Status;
}

/** ERR_STOPPED: a stop() that was called after this start() ended the start. */
export class StoppedError extends errorClass('ERR_STOPPED') {}

/** ERR_PREDECESSOR: an owner under another scheme is alive. The message says how to stop it. */
export class PredecessorError extends errorClass<PredecessorError>('ERR_PREDECESSOR') {
  declare readonly pid: number;
}

/** ERR_LOCK_DROPPED: the process closed the inherited descriptor, so the lock cannot live with it. It was stopped. */
export class LockDroppedError extends errorClass<LockDroppedError>('ERR_LOCK_DROPPED') {
  declare readonly pid: number;
}

/** ERR_STOP_TIMEOUT: the lock is still held 5 s after SIGKILL, or by a process that may not be signalled. */
export class StopTimeoutError extends errorClass<StopTimeoutError>('ERR_STOP_TIMEOUT') {
  /** PIDs of the processes that still held the lock. */
  declare readonly holders: readonly number[];
}

/** ERR_CRASH_LOOP: the process went down more often than `giveUpAfter` allows. Nothing is left running. */
export class CrashLoopError extends errorClass<CrashLoopError>('ERR_CRASH_LOOP') {
  /** Restarts within the window. */
  declare readonly restarts: number;
  /** What the last failed start threw; undefined when every start went well. */
  declare readonly lastError: unknown;
  /** The last lines of the log. */
  declare readonly logTail: readonly string[];
}

/** ERR_OPTIONS_MISMATCH: the shared instance or the running process has another spec; the message names the fields. */
export class OptionsMismatchError extends errorClass<OptionsMismatchError>('ERR_OPTIONS_MISMATCH') {
  /** The key of the shared instance; undefined when `whenDifferent: 'refuse'` refused a process. */
  declare readonly key: string | undefined;
  /** Names of the fields that differ; a variable of the environment is `env.NAME`. */
  declare readonly differences: readonly string[];
}

/** ERR_STATE_FILE: the journal cannot be written. start() started nothing; stop() has ended the process, but a supervisor may bring it back. */
export class StateFileError extends errorClass<StateFileError>('ERR_STATE_FILE') {
  /** Absolute path of the journal, `NAME.journal`. */
  declare readonly path: string;
}

/** The system's short name for why a call failed (`EACCES`, `ENOENT`, …), or undefined. */
export function errorCode(error: unknown): string | undefined {
  return textOf(error, 'code');
}

/** What went wrong, for use inside a longer message. Node 20 does not say what its permission model denied. */
export function errorText(error: unknown): string {
  const flag = PERMISSION_FLAGS[textOf(error, 'permission') ?? ''];
  if (flag === undefined) return messageOf(error);
  const place = flag.startsWith('--allow-fs') ? ` for "${textOf(error, 'resource')}"` : '';
  return `Node's permission model denies it without ${flag}${place}`;
}

/** Node's error for a connection that every address of a host refused has no message of its own, but `errors`. */
function messageOf(error: unknown): string {
  if (typeof error === 'string') return error;
  const { errors } = Object(error) as { errors?: unknown };
  const message = textOf(error, 'message') || (Array.isArray(errors) ? errors.map(errorText).join('; ') : '');
  return message || textOf(error, 'code') || textOf(error, 'name') || inspect(error, { breakLength: Infinity });
}

const PERMISSION_FLAGS: Record<string, string> = {
  FileSystemRead: '--allow-fs-read',
  FileSystemWrite: '--allow-fs-write',
  ChildProcess: '--allow-child-process',
};

/** Did Node's permission model deny the call, or Deno's, whose errors name the flag? */
export function isDenied(error: unknown): boolean {
  return errorCode(error) === 'ERR_ACCESS_DENIED' || textOf(error, 'name') === 'NotCapable';
}

/** Did a call fail for want of descriptors, memory or a permission? Then it says nothing of what it asked for. */
export function isOwnLimit(error: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'ENOMEM'].includes(errorCode(error) ?? '') || isDenied(error);
}

/** Did a call into the system fail, such as open(2) or a spawn, or was it denied? */
export function isSystemError(error: unknown): boolean {
  return textOf(error, 'syscall') !== undefined || isDenied(error);
}

/** An error of our own for what the system does not tell. It counts as a system error, and is translated like one. */
export function systemError(message: string): Error {
  return Object.assign(new Error(message), { syscall: 'open' });
}

/** Does without `instanceof Error`: under jest and in vitest's vm pools errors of `fs` come from another realm. */
function textOf(error: unknown, field: string): string | undefined {
  const value = (error as Record<string, unknown> | null | undefined)?.[field];
  return typeof value === 'string' ? value : undefined;
}

export function howEnded(exitCode: unknown, signal: unknown): string {
  return typeof signal === 'string' ? `by ${signal}` : `with exit code ${exitCode}`;
}

/** The holders of a lock, for use inside a longer message. */
export function textOfPids(pids: readonly number[]): string {
  return pids.length === 0 ? 'a process that cannot be seen' : `PID ${pids.join(', ')}`;
}

export function spawnError({ name }: { name: string }, why: string, cause: unknown): SpawnError {
  return new SpawnError(`Cannot start ${name}: ${why}`, { cause });
}

export function stopTimeoutError(
  spec: { name: string; lockFile: string },
  processes: readonly { pid: number }[],
): StopTimeoutError {
  const holders = processes.map(({ pid }) => pid);
  const isFirst = holders.includes(1);
  const hint = isFirst
    ? ', the first process of its container: it ends by no signal that it does not handle itself'
    : '';
  const message = `Cannot stop ${spec.name}: lock "${spec.lockFile}" is still held by ${textOfPids(holders)}${hint}`;
  return new StopTimeoutError(message, { holders });
}

/** False on Windows: there every call throws UnsupportedPlatformError; making a ProcessManager does not. */
export const isSupported: boolean = process.platform !== 'win32';

/** @throws UnsupportedPlatformError on Windows, before anything is opened or made there */
export function assertSupportedPlatform(): void {
  if (process.platform !== 'win32') return;
  throw new UnsupportedPlatformError(
    'flock-process needs flock(2) and descriptors that a child inherits: it runs on Linux, macOS and the BSDs, not on Windows (WSL is Linux)',
  );
}
