import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Outcome, Round } from '../fixtures/contender.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';

const CONTENDERS = 4;

async function ask<T>(program: Program, message: Round | 'release'): Promise<T> {
  const answer = once(program.child, 'message');
  program.send(message);
  return (await answer)[0] as T;
}

/** An instant that has not come yet when all have got the message: whoever runs by then tries at the same moment. */
const soon = () => String(process.hrtime.bigint() + 300_000n);

test('of four processes that acquire at the same moment exactly one wins, round after round', async (t) => {
  const folder = temporaryFolder(t);
  const contenders = Array.from({ length: CONTENDERS }, () => startFixture(t, 'contender'));
  await Promise.all(contenders.map((contender) => once(contender.child, 'message')));
  const wins = new Array<number>(CONTENDERS).fill(0);
  for (let round = 0; round < rounds(2_000); round += 1) {
    // Every second time the file exists already; else it is made, and its folder too, by all of them at once.
    const path = round % 2 === 0 ? join(folder, 'x.lock') : join(folder, `${round}/x.lock`);
    const at = soon();
    // The winner keeps the lock until all have answered: two winners, or none, cannot be missed.
    const outcomes = await Promise.all(contenders.map((contender) => ask<Outcome>(contender, { path, at })));
    assert.deepEqual(
      [...outcomes].sort(),
      ['ERR_LOCK_HELD', 'ERR_LOCK_HELD', 'ERR_LOCK_HELD', 'won'],
      `round ${round}`,
    );
    const winner = outcomes.indexOf('won');
    wins[winner] = (wins[winner] ?? 0) + 1;
    await ask(contenders[winner] as Program, 'release');
  }
  assert.ok(wins.filter((count) => count > 0).length > 1, `it was a race: ${wins}`);
});
