/** Attacks on the lock alone, without a managed process. */
import { join } from 'node:path';
import { pathWithOnly } from '../../helpers/path-with-only.js';
import { plainFixture } from '../../helpers/paths.js';
import { startFixture } from '../../helpers/programs.js';
import { race } from '../../helpers/race.js';
import type { Attack, Row } from '../attack.js';
import { killedHolderRow, stoppedAskerRow, stoppedHolderRow } from './lock-kill-rows.js';
import { questionRows } from './lock-question-rows.js';
import { sabotageRows } from './lock-sabotage-rows.js';
import { useLock } from './lock-use.js';

/** There are 20,000 rounds in all. A round with twice as many processes takes twice as long. */
const ROUNDS = { 2: 8_000, 4: 6_000, 8: 4_000, 16: 2_000 };

/** In fewer rounds one contender may win all of them by chance. */
const ENOUGH_FOR_TWO_WINNERS = 200;

const raceRows: readonly Row[] = Object.entries(ROUNDS).map(([contenders, rounds]) => ({
  name: `of ${contenders} contenders exactly one gets the lock`,
  laws: [1],
  attempts: rounds,
  attack: (attack) => attackWithRace(attack, { contenders: Number(contenders) }),
}));

const fallbackRows: readonly Row[] = ['flock', 'perl'].map((helper) => ({
  name: `of 3 contenders that lock with ${helper} instead of the addon, exactly one gets the lock`,
  laws: [1],
  attempts: 200,
  least: 5,
  attack: (attack) => {
    const options = {
      nodeArgs: ['--require', plainFixture('without-fs-ext.cjs')],
      env: { PATH: pathWithOnly(attack, helper) },
    };
    return attackWithRace(attack, { contenders: 3, options });
  },
}));

const waitRow: Row = {
  name: 'each of 6 waiting contenders gets the lock, one after another',
  laws: [1],
  attempts: 6_000,
  least: 60,
  async attack(attack) {
    const count = 6;
    const times = Math.ceil(attack.attempts / count);
    const reports = await useLock(attack, { count, options: { how: 'wait', times, holdMs: 0.5 } });
    for (const { taken, refused } of reports) {
      if (taken !== times) attack.violation(`${times - taken} waits failed: ${JSON.stringify(refused)}`);
    }
  },
};

export const lockRows: readonly Row[] = [
  ...raceRows,
  ...fallbackRows,
  waitRow,
  ...questionRows,
  ...sabotageRows,
  killedHolderRow,
  stoppedHolderRow,
  stoppedAskerRow,
];

async function attackWithRace(
  attack: Attack,
  { contenders, options = {} }: { contenders: number; options?: Parameters<typeof startFixture>[3] },
): Promise<void> {
  const programs = Array.from({ length: contenders }, () => startFixture(attack, 'contender', [], options));
  const wins = await race(programs, { folder: join(attack.folder, 'race'), rounds: attack.attempts });
  attack.count(attack.attempts);
  if (attack.attempts >= ENOUGH_FOR_TWO_WINNERS && wins.filter((count) => count > 0).length < 2)
    attack.violation(`one contender won every round, so it was no race: ${wins}`);
  attack.remark(`least wins ${Math.min(...wins)}, most ${Math.max(...wins)}`);
}
