/**
 * A process that ends before it could count as ready, where a process without a check counts as ready after a while.
 */
import assert from 'node:assert/strict';
import type { ProcessSpec } from '../../src/index.js';
import { assertNothingLeft } from './outside-view.js';
import { startFixture } from './programs.js';

/** Half of the time that the process would have to live to count as ready. */
const LIFE_MS = 50;

/** How many attempts are made: on a busy machine the process may live too long. */
const ATTEMPTS = 20;

/**
 * Starts the process and kills it within the same process, which therefore knows whether it was dead when it was called
 * ready.
 */
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
