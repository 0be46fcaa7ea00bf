/** Stop, then start, under a mark that says so: whoever supervises it elsewhere stands by, and nobody's start is ended. */

import { dirname } from 'node:path';
import { errorText } from '../shared/errors.js';
import { isFolder } from '../shared/folders.js';
import { type HeldMark, markRestart } from './down-mark.js';
import type { LaunchEvents } from './launch.js';
import { besideLockFile, type CompleteSpec, type Instance } from './process-spec.js';
import { spawnError } from './spawn.js';
import { start } from './start.js';
import { bringDown, type StopResult } from './stop.js';

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
  let mark: HeldMark;
  try {
    mark = await markRestart(markFile);
  } catch (error) {
    throw spawnError(spec, `cannot write "${markFile}": ${errorText(error)}`, error);
  }
  try {
    events.stopped(await bringDown(spec, { signal }));
  } finally {
    mark.release();
  }
  return await start(spec, { signal, events, known: mark.mark });
}
