/** Processes that use one lock at random, each of which notices when another one has it at the same time. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Options, Report } from '../../fixtures/lock-user.js';
import { startFixture } from '../../helpers/programs.js';
import { AS_LONG_AS_THE_ROW_MS, type Attack } from '../attack.js';

/** Runs several such processes. Each time two of them had the lock at once is a violation. */
export async function useLock(
  attack: Attack,
  { count, options }: { count: number; options: Pick<Options, 'how' | 'times' | 'holdMs'> },
): Promise<Report[]> {
  const folder = join(attack.folder, 'witnesses');
  mkdirSync(folder);
  const users = Array.from({ length: count }, () => {
    const whole: Options = { ...options, path: join(attack.folder, 'x.lock'), folder, seed: attack.random.fork() };
    return startFixture(attack, 'lock-user', [JSON.stringify(whole)]);
  });
  const ends = users.map((user) => user.ended({ withinMs: AS_LONG_AS_THE_ROW_MS }));
  const reports: Report[] = [];
  for (const [index, { exitCode, signal, stderr }] of (await Promise.all(ends)).entries()) {
    const report = users[index]?.messages.at(-1) as Report | undefined;
    if (exitCode !== 0 || report === undefined) attack.violation(`a user ended with ${exitCode ?? signal}: ${stderr}`);
    else reports.push(report);
  }
  for (const { violations } of reports) for (const what of violations.slice(0, 3)) attack.violation(what);
  attack.count(count * options.times);
  attack.remark(`taken ${reports.reduce((sum, { taken }) => sum + taken, 0)} times`);
  return reports;
}
