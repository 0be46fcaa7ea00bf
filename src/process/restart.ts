/** Stop, then start, under a mark that says so: whoever supervises it elsewhere stands by, and nobody's start is ended. */
import { dirname } from 'node:path';
import { tryAcquireLock } from '../lock/file-lock.js';
import { Deadline } from '../shared/deadline.js';
import { errorText } from '../shared/error-text.js';
import { isFolder } from '../shared/folders.js';
import { spawnError } from './command.js';
import { clearMark, type HeldMark, joinMark, markRestart } from './down-mark.js';
import { identify } from './identity.js';
import type { LaunchEvents } from './launch.js';
import { besideLockFile, type CompleteSpec, type Instance } from './process-spec.js';
import { start } from './start.js';
import { bringDown, endLostProcess, type StopResult, stopLimitMs } from './stop.js';

/** The mark that is in the way can be gone when it is to be joined, and be there again. */
const MARK_ATTEMPTS = 100;

export async function restart(
  spec: CompleteSpec,
  {
    signal,
    events,
  }: { signal?: AbortSignal | undefined; events: LaunchEvents & { stopped(result: StopResult): void } },
): Promise<Instance> {
  signal?.throwIfAborted();
  const markFile = besideLockFile(spec, 'down');
  // Nothing ever ran: there is nothing to stop, and no place for a mark yet.
  if (!isFolder(dirname(markFile))) return await start(spec, { signal, events });
  const mark = await markOrJoin(spec, markFile);
  try {
    events.stopped(await bringDown(spec, { signal }));
  } finally {
    mark.release();
  }
  return await start(spec, { signal, events, known: mark.mark });
}

/**
 * A supervisor's first half of a restart, of a process that is sick. It undoes nobody's stop: with any mark there it does nothing.
 * @param pid the sick one, undefined for leftovers; another one that is there now is left alone
 * @returns whether it was ended
 */
export async function endForRestart(spec: CompleteSpec, pid: number | undefined): Promise<boolean> {
  const holder = identify(spec);
  const isSickOne = holder.kind === 'process' ? holder.process.pid === pid : holder.kind === 'leftovers';
  if (!isSickOne) return false;
  const markFile = besideLockFile(spec, 'down');
  const hasEnded = await endUnder(spec, markRestart(markFile));
  // Left there while this supervisor waits for its turn, the mark would be a restart that died to any other one.
  if (hasEnded) clearRestartMark(spec, markFile);
  return hasEnded;
}

/** The rest of the first half of a restart that died. @returns whether there was one */
export async function finishStop(spec: CompleteSpec): Promise<boolean> {
  return await endUnder(spec, await joinMark(besideLockFile(spec, 'down')));
}

/** A supervisor gives up. What has lost its lock file is ended, unless somebody else has the lock now. */
export async function endLost(spec: CompleteSpec): Promise<void> {
  const lock = tryAcquireLock(spec.lockFile);
  if (lock === undefined) return;
  try {
    await endLostProcess(spec, { limit: Deadline.after(stopLimitMs(spec)) });
  } finally {
    lock.handOver();
  }
}

/** Only under the process's lock; whoever has that instead clears the mark itself. */
function clearRestartMark(spec: CompleteSpec, markFile: string): void {
  const lock = tryAcquireLock(spec.lockFile);
  if (lock === undefined) return;
  try {
    clearMark(markFile, undefined);
  } finally {
    lock.handOver();
  }
}

async function endUnder(spec: CompleteSpec, mark: HeldMark | undefined): Promise<boolean> {
  if (mark === undefined) return false;
  try {
    await bringDown(spec, {});
  } finally {
    mark.release();
  }
  return true;
}

/** A mark of its own, or one more on the mark that is there. @throws SpawnError */
async function markOrJoin(spec: CompleteSpec, markFile: string): Promise<HeldMark> {
  try {
    for (let attempt = 0; attempt < MARK_ATTEMPTS; attempt += 1) {
      const mark = markRestart(markFile) ?? (await joinMark(markFile));
      if (mark !== undefined) return mark;
    }
    throw new Error('it comes and goes');
  } catch (error) {
    throw spawnError(spec, `cannot write "${markFile}": ${errorText(error)}`, error);
  }
}
