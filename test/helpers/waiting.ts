/** Waiting for evidence instead of sleeping. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * How long something that must happen may take before the test fails. The limit is generous because the machines are
 * shared.
 */
export const MUST_HAPPEN_MS = 15_000;

/**
 * How long the test watches for something that must not happen. A short time can miss a defect, but never report one
 * that is not there. A supervisor looks every 125 ms.
 */
export const STILL_MS = 200;

/** Polls until `look` returns a truthy value, and returns that. @throws after `withinMs`, naming `what` */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  { withinMs = MUST_HAPPEN_MS, everyMs = 5 }: { withinMs?: number; everyMs?: number } = {},
): Promise<NonNullable<T>> {
  const end = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await delay(everyMs);
  }
}
