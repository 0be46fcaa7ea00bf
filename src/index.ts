export {
  type AcquireOptions,
  acquireLock,
  type FileLock,
  releaseLock,
  type WaitForLockOptions,
  waitForLock,
  withLock,
} from './lock/file-lock.js';
export { isLocked, lockHolders } from './lock/questions.js';
export { ProcessManager } from './manager/process-manager.js';
export { type TemporalDevServerOptions, temporalDevServer } from './presets/temporal-dev-server.js';
export type { ProcessManagerEvents } from './start/launch.js';
export type { JournalEvent } from './state/journal-state.js';
export type { Instance, ProcessSpec, SpawnChanges } from './state/process-spec.js';
export type { StopResult } from './stop/stop.js';
export type { SuperviseOptions, Supervisor } from './supervise/policy.js';
export {
  CommandNotFoundError,
  CrashLoopError,
  EarlyExitError,
  FlockBindingError,
  FlockProcessError,
  isSupported,
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
} from './support/errors.js';
export type { ProcessState, Status, SupervisorState } from './support/status-report.js';
export { type EphemeralInstance, startEphemeral } from './testing/start-ephemeral.js';
export { type SharedInstance, startShared } from './testing/start-shared.js';
export type { Preset } from './testing/test-options.js';
