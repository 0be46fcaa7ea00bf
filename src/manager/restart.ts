/** Stop, then start, under one line of the journal: whoever supervises it elsewhere stands by, and nobody's start is ended. */
import type { LaunchEvents } from '../start/launch.js';
import { start } from '../start/start.js';
import type { CompleteSpec, Instance } from '../state/process-spec.js';
import { type StopResult, stopForRestart } from '../stop/stop.js';

/** @throws what `start()` and `stop()` throw; the signal's reason when it is aborted */
export async function restart(
  spec: CompleteSpec,
  {
    signal,
    events,
  }: { signal?: AbortSignal | undefined; events: LaunchEvents & { stopped(result: StopResult): void } },
): Promise<Instance> {
  signal?.throwIfAborted();
  const { result, place } = await stopForRestart(spec, { signal });
  events.stopped(result);
  return await start(spec, { signal, events, place });
}
