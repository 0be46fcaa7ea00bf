/** A race of several processes for one lock, round after round. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Outcome, Round } from '../fixtures/contender.js';
import type { Program } from './programs.js';

/**
 * In each round all contenders try at the same instant, and the winner keeps the lock until all have answered, so two
 * winners or none cannot go unnoticed. In every second round the file already exists; in the others each contender
 * tries to make it and its folder.
 * @returns how often each contender won
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

/**
 * An instant that is still in the future when all contenders have got the message: all that are running then try at the
 * same moment.
 */
function soon(): string {
  return String(process.hrtime.bigint() + 300_000n);
}

/**
 * Sends one message and returns the answer. Program.message() polls once a millisecond, which is too slow for thousands
 * of rounds.
 */
async function ask<T>(program: Program, message: Round | 'release'): Promise<T> {
  const answer = once(program.child, 'message');
  program.send(message);
  return (await answer)[0] as T;
}
