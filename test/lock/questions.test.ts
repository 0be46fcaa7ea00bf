import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acquireLock, type FileLock, waitForLock } from '../../src/lock/file-lock.js';
import { isLocked } from '../../src/lock/questions.js';
import { startLockAgent } from '../helpers/lock-agent.js';
import { pathWithOnly } from '../helpers/path-with-only.js';
import { plainFixture } from '../helpers/paths.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';
import { eventually } from '../helpers/waiting.js';

/** A shared lock counts as a holder after a quarter of a second, also that of a process that asks and is hardly scheduled meanwhile. */
const LEAST_STALL_NS = 80_000_000n;

/**
 * Acquires the lock and releases it. A refusal fails the test unless a process that asks was not scheduled during it.
 */
async function takeAmong(probers: readonly Program[], take: () => FileLock | Promise<FileLock>): Promise<void> {
  const begin = process.hrtime.bigint();
  try {
    const lock = take();
    // A synchronous result is not awaited, which would cost a turn of the event loop in each of many thousands of
    // rounds.
    ('then' in lock ? await lock : lock).release();
  } catch (error) {
    const end = process.hrtime.bigint();
    const isExcused = await eventually('a prober was stalled during the acquire', () =>
      probers.some((prober) => isStalled(prober, begin, end)),
    ).catch(() => false);
    if (!isExcused) throw error;
  }
}

function isStalled({ stderr }: Program, begin: bigint, end: bigint): boolean {
  const stalls = [...stderr.matchAll(/kept from running (\d+) (\d+)\n/g)];
  return stalls.some(([, from = '', to = '']) => {
    const overlap = (BigInt(to) < end ? BigInt(to) : end) - (BigInt(from) > begin ? BigInt(from) : begin);
    return overlap >= LEAST_STALL_NS;
  });
}

for (const [how, options] of [
  ['fs-ext', {}],
  ['perl', { nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')] }],
] as const) {
  test(`isLocked through ${how} leaves no lock while its descriptor is still open`, async (t) => {
    const path = join(temporaryFolder(t), 'x.lock');
    writeFileSync(path, '');
    const agent = startLockAgent(t, { ...options, env: { PATH: pathWithOnly(t, 'perl') } });
    assert.deepEqual(await agent.ask({ do: 'askThenLock', path }), [true, true]);
    using _lock = acquireLock(path);
    assert.deepEqual(await agent.ask({ do: 'askThenLock', path }), [false, false]);
  });
}

test('a wait never times out because other processes ask, even with timeout 0', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  writeFileSync(path, '');
  const probers = Array.from({ length: 4 }, () => startFixture(t, 'prober', [path]));
  await Promise.all(probers.map((prober) => prober.printed(/begun/)));
  for (let i = 0; i < rounds(5_000); i += 1) await takeAmong(probers, () => waitForLock(path, { timeoutMs: 0 }));
  assert.equal(isLocked(path), false);
});
