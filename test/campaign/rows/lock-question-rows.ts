/** Attacks on law 3: other processes ask about the lock all the time. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startFixture } from '../../helpers/programs.js';
import { race } from '../../helpers/race.js';
import { AS_LONG_AS_THE_ROW_MS, type Attack, type Row } from '../attack.js';

const ASKERS = 4;

export const questionRows: readonly Row[] = [
  {
    name: `of 2 contenders exactly one gets the lock while ${ASKERS} processes keep calling isLocked() or lockHolders()`,
    laws: [1, 3],
    attempts: 1_000,
    least: 3,
    async attack(attack) {
      const folder = join(attack.folder, 'race');
      const contenders = [1, 2].map(() => startFixture(attack, 'contender'));
      await whileAsked(attack, join(folder, 'x.lock'), ASKERS, async () => {
        const wins = await race(contenders, { folder, rounds: attack.attempts });
        attack.remark(`least wins ${Math.min(...wins)}, most ${Math.max(...wins)}`);
      });
      attack.count(attack.attempts);
    },
  },
  acquireRow({ askers: 1, attempts: 850_000 }),
  acquireRow({ askers: ASKERS, attempts: 150_000 }),
  {
    name: 'processes that keep calling isLocked() and lockHolders() never report one another as holders',
    laws: [3],
    attempts: 1_000_000,
    least: 4_000,
    async attack(attack) {
      const path = join(attack.folder, 'x.lock');
      writeFileSync(path, '');
      const looks = Math.ceil(attack.attempts / ASKERS);
      const holders = startFixture(attack, 'holders-asker', [path]);
      const askers = Array.from({ length: ASKERS }, () => startFixture(attack, 'prober', [path, String(looks)]));
      for (const asker of askers) {
        const { stdout, stderr } = await asker.ended({ withinMs: AS_LONG_AS_THE_ROW_MS });
        if (!stdout.includes(`${looks} looks, 0 locked`)) attack.violation(`${stdout}${stderr}`);
      }
      await holders.printed(/begun/);
      if (holders.stdout !== 'begun\n') attack.violation(holders.stdout);
      attack.count(looks * ASKERS);
    },
  },
];

function acquireRow({ askers, attempts }: { askers: number; attempts: number }): Row {
  return {
    name: `no acquire fails while ${askers === 1 ? 'another process keeps calling isLocked()' : `${askers} processes keep calling isLocked() or lockHolders()`}`,
    laws: [3],
    attempts,
    least: 500,
    async attack(attack) {
      const path = join(attack.folder, 'x.lock');
      writeFileSync(path, '');
      await whileAsked(attack, path, askers, async () => {
        const locker = startFixture(attack, 'repeated-locker', [path, String(attack.attempts)]);
        const { stdout, stderr } = await locker.ended({ withinMs: AS_LONG_AS_THE_ROW_MS });
        if (stdout !== `${attack.attempts} times\n`) attack.violation(`an acquire failed: ${stderr}`);
      });
      attack.count(attack.attempts);
    },
  };
}

/**
 * Runs `act` while `count` processes ask whether the lock is held; if there are several, the last one asks for the
 * holders.
 */
async function whileAsked(attack: Attack, path: string, count: number, act: () => Promise<void>): Promise<void> {
  const askers = Array.from({ length: count }, (_, index) =>
    startFixture(attack, index > 0 && index === count - 1 ? 'holders-asker' : 'prober', [path]),
  );
  await Promise.all(askers.map((asker) => asker.printed(/begun/)));
  await act();
  for (const { isAlive, stderr } of askers) if (!isAlive) attack.violation(`an asker ended: ${stderr}`);
}
