/** The public class: one process under one lock. It checks options, passes calls on, and emits events. */

import { EventEmitter } from 'node:events';
import { status } from '../inspect/status.js';
import { isLocked } from '../lock/questions.js';
import { type Announce, checkWanted, type ProcessManagerEvents } from '../start/launch.js';
import { become, placeOfCall, start } from '../start/start.js';
import { followLog } from '../state/follow-log.js';
import { journalOf } from '../state/journal.js';
import { eventOf, type JournalEvent } from '../state/journal-state.js';
import { readLogTail } from '../state/log-file.js';
import {
  besideLockFile,
  type CompleteSpec,
  completeSpec,
  type Instance,
  type ProcessSpec,
} from '../state/process-spec.js';
import { type StopResult, stop, stopForRestart } from '../stop/stop.js';
import { completeSuperviseOptions, type SuperviseOptions, type Supervisor } from '../supervise/policy.js';
import { ProcessSupervisor } from '../supervise/supervisor.js';
import { throwIfAborted } from '../support/deadline.js';
import {
  assertSupportedPlatform,
  errorText,
  isSystemError,
  LockUnavailableError,
  spawnError,
} from '../support/errors.js';
import { nextTick } from '../support/globals.js';
import { check, isAbortSignal, optional } from '../support/options.js';
import type { Status } from '../support/status-report.js';
import { SharedUse } from './shared-use.js';

const isCount = (it: unknown) => Number.isInteger(it) && Number(it) >= 0;

/**
 * Starts one process once, stops it from anywhere, and reports its status. Constructing a manager touches nothing; any
 * number of managers in any number of processes may have the same spec. The managed process never keeps this one alive.
 */
export class ProcessManager extends EventEmitter<ProcessManagerEvents> {
  /** The spec with every default in place and every path absolute. */
  readonly spec: CompleteSpec;
  readonly #sharedUse: SharedUse;
  #supervisor: ProcessSupervisor | undefined;

  /** On Windows only calls throw UnsupportedPlatformError. @throws TypeError naming option, expectation and value */
  constructor(spec: ProcessSpec) {
    super();
    this.spec = completeSpec(spec);
    this.#sharedUse = new SharedUse(this.spec, () => this.afterLastUser(), this.#announce);
  }

  /**
   * Makes sure that the process runs and is ready. Of any number of concurrent calls in any number of processes exactly
   * one spawns; the others wait for the same readiness and get the same pid with `reused: true`. A process that is
   * being stopped is never reused: the call waits for its end and spawns. A start that fails or is aborted leaves
   * nothing behind: the group gets `stopSignal`, and SIGKILL after at most 2 s, and the lock is free.
   * @throws CommandNotFoundError | SpawnError | PortInUseError | EarlyExitError | StoppedError | StartTimeoutError |
   * UnhealthyError | LockDroppedError | LockUnavailableError | StateFileError | PredecessorError |
   * OptionsMismatchError, and StopTimeoutError when it had to finish somebody's stop first and could not; the signal's
   * reason when it is aborted
   */
  async start(options: { signal?: AbortSignal } = {}): Promise<Instance> {
    const { signal } = options;
    throwIfAborted(signal);
    const place = placeOfCall(this.spec);
    return await this.#startAsUser(signal, () => start(this.spec, { signal, place, announce: this.#announce }));
  }

  /**
   * Stops the process, from any process. Resolves when the process that it signalled, its group and the lock's other
   * heirs are gone. A stop is final: no supervisor brings the process back until somebody calls `start()` or
   * `supervise()`. It ends this manager's own supervisor. Starts under way at its call end with StoppedError. It takes
   * at most 2 × stopTimeoutMs + 5 s, and creates nothing when nothing ever ran.
   * @throws StopTimeoutError | StateFileError | LockUnavailableError; the signal's reason when it is aborted
   */
  async stop(options: { signal?: AbortSignal } = {}): Promise<StopResult> {
    throwIfAborted(options.signal);
    // The supervisor is replaced in this turn: a supervise() that is called after this stop() must not be ended by it.
    const supervisor = this.#supervisor;
    this.#supervisor = undefined;
    supervisor?.end();
    const result = await this.#asLockErrors(stop(this.spec, { signal: options.signal }), options.signal);
    await supervisor?.abort();
    this.#announce('stopped', result);
    return result;
  }

  /**
   * Lifetime 'shared': this manager no longer needs the process. The last user that leaves ends it, `lingerMs` later.
   * Resolves at once for all but the last. Two `start()` calls of one manager count once. A `start()` of this manager
   * that is under way is waited for, and left, too. Without a `start()` before, it does nothing.
   * @throws TypeError for another lifetime; StopTimeoutError when the process, or what is ending it, does not end
   */
  async leave(): Promise<void> {
    assertSupportedPlatform();
    if (this.spec.lifetime !== 'shared') {
      throw new TypeError(`"lifetime" must be "shared" for leave(), not "${this.spec.lifetime}"`);
    }
    await this.#sharedUse.leave();
  }

  /** Called after the last user has ended a shared process; nobody can become a user meanwhile. @internal */
  protected async afterLastUser(): Promise<void> {}

  /**
   * Stops and starts the process. That is no crash: supervision, here or elsewhere, goes on. It ends nobody's start.
   * @throws what `start()` and `stop()` throw
   */
  async restart(options: { signal?: AbortSignal } = {}): Promise<Instance> {
    const { signal } = options;
    throwIfAborted(signal);
    const called = placeOfCall(this.spec);
    return await this.#startAsUser(signal, async () => {
      // Becoming a user can take so long that a later stop() writes its line first: that stop() must end this restart.
      checkWanted(this.spec, { signal, place: called });
      const { result, place } = await stopForRestart(this.spec, { signal });
      this.#announce('stopped', result);
      return await start(this.spec, { signal, place, announce: this.#announce });
    });
  }

  /**
   * Asks, and changes nothing. `usage: true` adds cpu and memory, and costs tens of milliseconds.
   * @throws LockUnavailableError when it cannot be told whether the lock is held
   */
  async status(options: { usage?: boolean } = {}): Promise<Status> {
    return await this.#asLockErrors(status(this.spec, options));
  }

  /** Is the state 'running'? When nothing runs, this costs one lock probe. @throws LockUnavailableError */
  async isRunning(): Promise<boolean> {
    return isLocked(this.spec.lockFile) && (await this.status()).state === 'running';
  }

  /** The last lines of the log file, 64 KiB of it at most, oldest first; empty when there is none. @default 20 lines */
  async logTail(lines = 20): Promise<string[]> {
    assertSupportedPlatform();
    check('lines', lines, isCount, 'a whole number, 0 or more');
    return readLogTail(this.spec.logFile, lines);
  }

  /** The journal's events, newest last. @default 50 @throws StateFileError when it is there and cannot be read */
  async history(limit = 50): Promise<JournalEvent[]> {
    assertSupportedPlatform();
    check('limit', limit, isCount, 'a whole number, 0 or more');
    return limit === 0 ? [] : journalOf(this.spec).lines().slice(-limit).map(eventOf);
  }

  /** Every file that may be left, except the lock file. A tool that resets deletes them while it holds that lock. */
  get files(): readonly string[] {
    const { pidFile, logFile, logRotation } = this.spec;
    const logs = Array.from({ length: logRotation.keep }, (_, index) => `${logFile}.${index + 1}`);
    // A process that is killed while it replaces a file leaves the new one.
    const replaced = [pidFile, besideLockFile(this.spec, 'journal')].flatMap((path) => [path, `${path}.new`]);
    return [...replaced, besideLockFile(this.spec, 'users'), logFile, ...logs];
  }

  /**
   * Makes this very process the managed one, as a daemon in the foreground of a container is: it takes the lock, and
   * writes journal and PID file. After `ready()` the others' `status()` says running, and their `stop()` sends
   * `stopSignal` to this PID alone (as PID 1 the program must handle it). `release()`, `stop()` in this process, or its
   * end stop it. In a process that `start()` spawned the handle does nothing: one program, both modes.
   * @throws LockHeldError when it runs already; PredecessorError | StoppedError; the signal's reason when it is aborted
   * @throws TypeError for another lifetime than 'detached'
   */
  async become(
    options: { signal?: AbortSignal } = {},
  ): Promise<{ ready(): void; release(): void; [Symbol.dispose](): void }> {
    const { signal } = options;
    if (this.spec.lifetime !== 'detached') {
      throw new TypeError(`"lifetime" must be "detached" for become(), not "${this.spec.lifetime}"`);
    }
    throwIfAborted(signal);
    const place = placeOfCall(this.spec);
    return await this.#asUser(signal, () => become(this.spec, { signal, place, announce: this.#announce }));
  }

  /**
   * The last lines of the log, then each new one, through rotation, truncation, deletion and restarts. Ends when the
   * signal is aborted or the loop is left; waiting for the next line keeps this process alive. @default 10 lines
   * @throws the system's error when the log is there and cannot be read
   */
  followLog(options: { lines?: number; signal?: AbortSignal } = {}): AsyncIterable<string> {
    assertSupportedPlatform();
    const { lines = 10, signal } = options;
    check('lines', lines, isCount, 'a whole number, 0 or more');
    check('signal', signal, optional(isAbortSignal), 'an AbortSignal');
    return followLog(this.spec, { lines, signal });
  }

  /**
   * Keeps the process running: starts it if needed, restarts it after a crash or when it stays unhealthy, and takes
   * over when the process that kept it running dies. Every failed start counts as a crash. A `stop()` from elsewhere
   * puts the supervisor on standby; a later `start()` from anywhere wakes it. A running supervisor keeps this process
   * alive.
   * @throws TypeError naming option, expectation and value, and for the lifetime 'shared'
   * @throws Error when this manager has a supervisor already
   */
  supervise(options: SuperviseOptions = {}): Supervisor {
    assertSupportedPlatform();
    if (this.spec.lifetime === 'shared') {
      throw new TypeError('"lifetime" must not be "shared" for supervise(): its users start it again');
    }
    const complete = completeSuperviseOptions(options);
    const { state } = this.#supervisor ?? { state: 'stopped' };
    if (state !== 'stopped' && state !== 'gave-up') {
      throw new Error(`${this.spec.name} is supervised by this manager already; stop that supervisor first`);
    }
    this.#supervisor = new ProcessSupervisor(this.spec, complete, this.#announce);
    return this.#supervisor;
  }

  /** Runs `act` as a user of a shared process. @throws SpawnError for an error of the system */
  async #asUser<T>(signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
    return await this.#sharedUse.during(signal, act).catch((error: unknown) => {
      throw isSystemError(error) && error !== signal?.reason ? spawnError(this.spec, errorText(error), error) : error;
    });
  }

  /** Emits `ready` for a process that was found running, too. */
  async #startAsUser(signal: AbortSignal | undefined, act: () => Promise<Instance>): Promise<Instance> {
    const instance = await this.#asUser(signal, act);
    if (instance.reused) this.#announce('ready', instance);
    return instance;
  }

  /** @throws LockUnavailableError for an error of the system */
  async #asLockErrors<T>(answer: Promise<T>, signal?: AbortSignal): Promise<T> {
    const { lockFile: path } = this.spec;
    return await answer.catch((cause: unknown) => {
      if (!isSystemError(cause) || cause === signal?.reason) throw cause;
      throw new LockUnavailableError(`Cannot tell who holds "${path}": ${errorText(cause)}`, { path, cause });
    });
  }

  /** A listener that throws breaks nothing here: its error is thrown on the next tick. */
  readonly #announce: Announce = (name, ...values) => {
    try {
      // Name and values belong together by the signature, which the emitter's own type cannot follow.
      (this as EventEmitter).emit(name, ...values);
    } catch (error) {
      nextTick(() => {
        throw error;
      });
    }
    if (name === 'exit') this.#supervisor?.onExit();
  };
}
