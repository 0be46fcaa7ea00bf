export {
  type AcquireOptions,
  acquireLock,
  type FileLock,
  isLocked,
  releaseLock,
  type WaitForLockOptions,
  waitForLock,
} from './lock/file-lock.js';
export type { Preset } from './presets/preset.js';
export { temporalDevServer } from './presets/temporal-dev-server.js';
export type { TemporalDevServerOptions } from './presets/temporal-options.js';
export { lockHolders } from './process/lock-holders.js';
export { ProcessManager, type ProcessManagerEvents } from './process/process-manager.js';
export type { Instance, ProcessSpec } from './process/process-spec.js';
export type { StopResult } from './process/stop.js';
export type { SuperviseOptions } from './process/supervise-options.js';
export type { Supervisor, SupervisorState } from './process/supervision.js';
export {
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
  SpawnError,
  StartTimeoutError,
  StateFileError,
  StoppedError,
  StopTimeoutError,
  UnhealthyError,
  UnsupportedPlatformError,
} from './shared/errors.js';
export type { ProcessState, Status } from './shared/status-report.js';
export { type EphemeralInstance, startEphemeral } from './testing/start-ephemeral.js';
export { type SharedInstance, startShared } from './testing/start-shared.js';
