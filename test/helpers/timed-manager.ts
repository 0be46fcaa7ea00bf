/** A remote manager that reports when a start was done, and when a call has been made. */
import { on } from 'node:events';
import type { Instance, ProcessSpec } from '../../src/index.js';
import type { Call } from '../fixtures/remote-manager.js';
import { startFixture } from './programs.js';
import { RemoteManager } from './remote-manager.js';
import { eventually } from './waiting.js';

/**
 * A file can be dated this much before its change: the kernel's clock for file times ticks 100 times a second or more.
 */
export const FILE_CLOCK_MS = 20;

export class TimedManager extends RemoteManager {
  /**
   * `at` is a time just before the turn in which the start was done, measured in that process by the clock that dates
   * files.
   */
  override start(options: { abortAfterMs?: number } = {}): Promise<Instance & { at: number }> {
    return super.start(options) as Promise<Instance & { at: number }>;
  }

  /**
   * Resolves when every earlier call has been made: calls are carried out in the order of their arrival, so the answer
   * to a later one proves it.
   */
  async hasCalled(): Promise<void> {
    const { child } = this.program;
    child.send({ id: 0, method: 'logTail' } satisfies Call);
    for await (const [message] of on(child, 'message')) if ((message as { id?: number }).id === 0) return;
  }
}

/** Starts this many managers, each in a process of its own that waits for calls. */
export async function startTimedManagers(
  test: Parameters<typeof startFixture>[0],
  spec: ProcessSpec,
  count: number,
): Promise<TimedManager[]> {
  const start = () => new TimedManager(startFixture(test, 'timed-manager', [JSON.stringify(spec)]));
  const managers = Array.from({ length: count }, start);
  for (const manager of managers) await eventually('the manager is up', () => manager.events.length > 0);
  return managers;
}
