import { acquireLock, isLocked, LockHeldError, releaseLock } from 'flock-process';

const path = `${import.meta.dirname}/esm.lock`;
const lock = acquireLock(path);
let refusal;
try {
  acquireLock(path);
} catch (error) {
  refusal = error;
}
if (!(refusal instanceof LockHeldError) || !isLocked(path)) throw new Error('a second lock was not refused');
releaseLock(lock);
if (isLocked(path)) throw new Error('the lock is not free again');
