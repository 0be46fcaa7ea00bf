/** Attacks on the lock alone: no managed process. */
import { join } from 'node:path';
import { startFixture } from '../../helpers/programs.js';
import { race } from '../../helpers/race.js';
import type { Row } from '../attack.js';

const ROUNDS = 20_000;

export const lockRows: readonly Row[] = [2, 4, 8, 16].map((contenders) => ({
  name: `of ${contenders} contenders exactly one gets the lock`,
  laws: [1],
  attempts: ROUNDS,
  async attack(attack) {
    const programs = Array.from({ length: contenders }, () => startFixture(attack, 'contender'));
    const wins = await race(programs, { folder: join(attack.folder, 'race'), rounds: attack.attempts });
    attack.count(attack.attempts);
    attack.remark(`least wins ${Math.min(...wins)}, most ${Math.max(...wins)}`);
  },
}));
