const { acquireLock, isLocked } = require('flock-process');

const path = `${__dirname}/commonjs.lock`;
const lock = acquireLock(path);
if (!isLocked(path)) throw new Error('the lock is not held');
lock.release();
if (isLocked(path)) throw new Error('the lock is not free again');
