/** The end of a crash loop: nothing is left running, and an error says what was going on. */
import { debugLog } from '../shared/debug.js';
import { errorText } from '../shared/error-text.js';
import { CrashLoopError } from '../shared/errors.js';
import { readLogTail } from './log-file.js';
import type { CompleteSpec } from './process-spec.js';
import { endLost } from './restart.js';

const LOG_TAIL_LINES = 20;

const log = debugLog('supervisor');

export function crashLoopError(
  { name, logFile }: CompleteSpec,
  { restarts, withinMs, lastError }: { restarts: number; withinMs: number; lastError: unknown },
): CrashLoopError {
  const last = lastError === undefined ? '' : `; the last start: ${errorText(lastError)}`;
  const message = `Gave up on ${name}: it went down again after ${restarts} restarts within ${withinMs} ms${last}. See "${logFile}"`;
  return new CrashLoopError(message, { restarts, lastError, logTail: readLogTail(logFile, LOG_TAIL_LINES) });
}

/** What has lost its lock file is alive although the lock is free. */
export async function leaveNothing(spec: CompleteSpec): Promise<void> {
  try {
    await endLost(spec);
  } catch (error) {
    log('%s cannot be ended: %s', spec.name, errorText(error));
  }
}
