export {
  type AcquireOptions,
  acquireLock,
  type FileLock,
  isLocked,
  releaseLock,
  type WaitForLockOptions,
  waitForLock,
} from './lock/file-lock.js';
export {
  CommandNotFoundError,
  EarlyExitError,
  FlockBindingError,
  FlockProcessError,
  LockDroppedError,
  LockHeldError,
  LockUnavailableError,
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
