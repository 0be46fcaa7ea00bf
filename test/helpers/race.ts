/** A race of several processes for one lock, round after round. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Outcome, Round } from '../fixtures/contender.js';
import type { Program } from './programs.js';

/**
 * In each round all try at the same instant, and the winner keeps the lock until all have answered: two winners, or
 * none, cannot be missed. In every second round the file is there already; else all make it, and its folder too.
 * @returns how often each of them won
 */
export async function race(contenders: readonly Program[], { folder, rounds }: { folder: string; rounds: number }) {
  await Promise.all(contenders.map((contender) => contender.message()));
  const expected = contenders.map((_, index) => (index === 0 ? 'won' : 'ERR_LOCK_HELD')).sort();
  const wins = contenders.map(() => 0);
  for (let round = 0; round < rounds; round += 1) {
    const path = round % 2 === 0 ? join(folder, 'x.lock') : join(folder, `${round}/x.lock`);
    const at = soon();
    const outcomes = await Promise.all(contenders.map((contender) => ask<Outcome>(contender, { path, at })));
    assert.deepEqual([...outcomes].sort(), expected, `round ${round}`);
    const winner = outcomes.indexOf('won');
    wins[winner] = (wins[winner] ?? 0) + 1;
    await ask(contenders[winner] as Program, 'release');
  }
  return wins;
}

/** An instant that has not come yet when all have got the message: whoever runs by then tries at the same moment. */
function soon(): string {
  return String(process.hrtime.bigint() + 300_000n);
}

/** Program.message() polls once in a millisecond: too slow for thousands of rounds. */
async function ask<T>(program: Program, message: Round | 'release'): Promise<T> {
  const answer = once(program.child, 'message');
  program.send(message);
  return (await answer)[0] as T;
}
