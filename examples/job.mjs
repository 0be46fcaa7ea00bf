/**
 * A lock around a job: at most one run at a time, on this machine.
 *
 *     node examples/job.mjs                   the job; a second run at the same time names the first one, and exits with 1
 *     node examples/job.mjs --wait            a second run waits for its turn
 *     node examples/job.mjs --seconds=30      a longer job
 *
 * Nothing has to be cleaned up after a crash: however this process ends, the kernel frees the lock.
 */
// @ts-check
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { acquireLock, LockHeldError, lockHolders, waitForLock } from 'flock-process';

const { values } = parseArgs({ options: { wait: { type: 'boolean' }, seconds: { type: 'string', default: '2' } } });

/** Any path works if all runs use the same one. The file stays, because only the lock on it counts. */
const lockFile = join(tmpdir(), `flock-process-job-${userInfo().uid}.lock`);

try {
  const lock = values.wait ? await waitForLock(lockFile) : acquireLock(lockFile);
  try {
    await doTheJob();
  } finally {
    lock.release();
  }
} catch (error) {
  if (!(error instanceof LockHeldError)) throw error;
  const holders = await lockHolders(lockFile); // empty when the other run has just ended
  console.error(`The job is running already (PID ${holders.join(', ') || 'gone by now'}), says ${lockFile}`);
  process.exitCode = 1;
}

async function doTheJob() {
  console.log(`PID ${process.pid} does the job, for ${values.seconds} s`);
  await delay(Number(values.seconds) * 1000);
  console.log(`PID ${process.pid} is done`);
}
