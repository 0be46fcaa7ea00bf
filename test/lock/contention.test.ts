import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startFixture } from '../helpers/programs.js';
import { race } from '../helpers/race.js';
import { rounds, temporaryFolder } from '../helpers/resources.js';

test('of four processes that acquire at the same moment exactly one wins, round after round', async (t) => {
  const contenders = Array.from({ length: 4 }, () => startFixture(t, 'contender'));
  const wins = await race(contenders, { folder: temporaryFolder(t), rounds: rounds(2_000) });
  assert.ok(wins.filter((count) => count > 0).length > 1, `it was a race: ${wins}`);
});
