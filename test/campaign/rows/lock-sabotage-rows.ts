/** Attacks on the lock file: another process deletes, replaces and renames it. */
import { join } from 'node:path';
import type { Report } from '../../fixtures/sabotaged-locker.js';
import { plainFixture } from '../../helpers/paths.js';
import { startFixture } from '../../helpers/programs.js';
import { AS_LONG_AS_THE_ROW_MS, type Row } from '../attack.js';
import { useLock } from './lock-use.js';

/** The errors that an acquire may get: there is a holder, or a folder or link is in the place of the file. */
const EXPECTED_REFUSALS = ['ERR_LOCK_HELD', 'ERR_LOCK_UNAVAILABLE'];

export const sabotageRows: readonly Row[] = [
  {
    name: 'while the lock file is deleted, replaced and renamed, the file at its path never has two holders',
    laws: [1],
    attempts: 8_000,
    least: 200,
    async attack(attack) {
      const path = join(attack.folder, 'x.lock');
      const saboteur = startFixture(attack, 'saboteur', [path, String(attack.random.fork())]);
      await saboteur.message();
      const count = 4;
      const times = Math.ceil(attack.attempts / count);
      const reports = await useLock(attack, { count, options: { how: 'acquire', times, holdMs: 3 } });
      saboteur.send('end');
      attack.remark(`sabotage: ${JSON.stringify(await saboteur.message())}`);
      for (const [code, number] of reports.flatMap(({ refused }) => Object.entries(refused))) {
        if (!EXPECTED_REFUSALS.includes(code)) attack.violation(`${number} × ${code}`);
      }
    },
  },
  {
    name: 'a lock file that is replaced after it was opened is not accepted as locked, and does not block the acquire',
    laws: [1],
    attempts: 50_000,
    least: 500,
    async attack(attack) {
      const path = join(attack.folder, 'x.lock');
      const words = [path, String(attack.random.fork()), String(attack.attempts)];
      const locker = startFixture(attack, 'sabotaged-locker', words, {
        nodeArgs: ['--require', plainFixture('hook-before-flock.cjs')],
      });
      const { stderr } = await locker.ended({ withinMs: AS_LONG_AS_THE_ROW_MS });
      const report = locker.messages.at(-1) as Report | undefined;
      if (report === undefined) return attack.violation(`it did not come to an end: ${stderr}`);
      attack.count(report.attempts);
      for (const violation of report.violations) attack.violation(violation);
    },
  },
];
