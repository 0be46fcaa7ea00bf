/** Stop, then start, under a mark that says so: whoever supervises it elsewhere stands by, and nobody's start is ended. */

import { dirname } from 'node:path';
import type { LaunchEvents } from '../start/launch.js';
import { start } from '../start/start.js';
import { type HeldMark, joinMark, markRestart } from '../state/down-mark.js';
import { besideLockFile, type CompleteSpec, type Instance } from '../state/process-spec.js';
import { bringDown, type StopResult } from '../stop/stop.js';
import { errorText, spawnError } from '../support/errors.js';
import { isFolder } from '../support/files.js';

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
