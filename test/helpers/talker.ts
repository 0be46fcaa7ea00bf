/** test/fixtures/talker.mjs, which prints the text that a test chooses, at the time that it chooses. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessSpec } from '../../src/index.js';
import { plainFixture } from './paths.js';
import { temporaryFolder } from './resources.js';
import { sleepSpec } from './servers.js';

type Test = Parameters<typeof temporaryFolder>[0];

export type Step =
  | string
  | { stderr: string }
  | { listen: number }
  | { until: string }
  | { bytes: number }
  | { xs: number };

/** Matches the line in which a server names the port that it chose itself. */
export const PORT_LINE = /listening on port (?<port>\d+)/;

export function talkerSpec(test: Test, steps: readonly Step[], changes: Partial<ProcessSpec> = {}): ProcessSpec {
  return sleepSpec(test, { name: 'talker', ...talking(steps), startTimeoutMs: 20_000, ...changes });
}

export function talking(steps: readonly Step[]): Pick<ProcessSpec, 'command'> & { args: string[] } {
  return { command: process.execPath, args: [plainFixture('talker.mjs'), JSON.stringify(steps)] };
}

/** A file for which a talker waits until the test opens it. */
export function fileGate(test: Test) {
  const file = join(temporaryFolder(test), 'gate');
  return { step: { until: file }, open: () => writeFileSync(file, '') };
}

/** The outcome of the promise, or `pending` if it has not settled after `ms`. */
export async function stateAfter<T>(ms: number, promise: Promise<T>): Promise<T | 'pending'> {
  return await Promise.race([promise, new Promise<'pending'>((resolve) => setTimeout(resolve, ms, 'pending'))]);
}
