/** A process that ends before one with nothing to ask counts as ready, on whatever machine. */
import assert from 'node:assert/strict';
import type { ProcessSpec } from '../../src/index.js';
import { assertNothingLeft } from './outside-view.js';
import { startFixture } from './programs.js';

/** Half of the time that it would have to live. */
const LIFE_MS = 50;

/** How often the machine may be so busy that it lived for longer. */
const ATTEMPTS = 20;

/** Starts it and kills it, in one process: that knows whether it was dead already when it was called ready. */
export async function assertNeverReady(
  test: Parameters<typeof startFixture>[0],
  spec: ProcessSpec,
  options: Parameters<typeof startFixture>[3] = {},
): Promise<void> {
  const args = [JSON.stringify(spec), String(LIFE_MS)];
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const { stdout, stderr } = await startFixture(test, 'busy-starter', args, {
      ...options,
      stdio: [...stdio],
    }).ended();
    if (stdout === 'EarlyExitError\n') return assertNothingLeft(spec);
    assert.equal(stdout, 'alive\nstarted\n', stderr);
  }
  assert.fail(`ready after less than ${LIFE_MS} ms, ${ATTEMPTS} times`);
}
