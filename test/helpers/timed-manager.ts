/** A remote manager that says in which turn a start was through, and that it has been called. */
import { on } from 'node:events';
import type { Instance, ProcessSpec } from '../../src/index.js';
import type { Call } from '../fixtures/remote-manager.js';
import { startFixture } from './programs.js';
import { RemoteManager } from './remote-manager.js';
import { eventually } from './waiting.js';

/** How much earlier than its change a file can be dated: the kernel's clock for that ticks 100 times a second or more. */
export const FILE_CLOCK_MS = 20;

export class TimedManager extends RemoteManager {
  /** `at`: just before the turn in which it was through, seen from inside that process, on the clock that files are dated with. */
  override start(options: { abortAfterMs?: number } = {}): Promise<Instance & { at: number }> {
    return super.start(options) as Promise<Instance & { at: number }>;
  }

  /** Calls are carried out in the order of their arrival: when it answers a later one, every earlier one has been called. */
  async hasCalled(): Promise<void> {
    const { child } = this.program;
    child.send({ id: 0, method: 'logTail' } satisfies Call);
    for await (const [message] of on(child, 'message')) if ((message as { id?: number }).id === 0) return;
  }
}

/** As many as that, each in a process of its own, up and listening. */
export async function startTimedManagers(
  test: Parameters<typeof startFixture>[0],
  spec: ProcessSpec,
  count: number,
): Promise<TimedManager[]> {
  const start = () => new TimedManager(startFixture(test, 'timed-manager', [JSON.stringify(spec)]));
  const managers = Array.from({ length: count }, start);
  for (const manager of managers) await eventually('a manager that is up', () => manager.events.length > 0);
  return managers;
}
