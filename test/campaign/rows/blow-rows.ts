/** The rows of one kind of blow: to the process that makes a call, to the server, and to the watcher. */
import type { Row } from '../attack.js';
import { hitCallers, hitServed, type Method } from '../blows.js';

type Victim = Method | 'server' | 'watcher';

const NAMES: Readonly<Record<Victim, string>> = {
  start: 'a starter',
  stop: 'a stopper',
  restart: 'a restarter',
  supervise: 'a supervisor',
  server: 'a server',
  watcher: 'the watcher of a tied server',
};

/** @param ending the second half of each row's name, which says what happens to the victim */
export function blowRows(
  blow: 'kill' | 'suspend',
  { ending, attempts }: { ending: string; attempts: Readonly<Record<Victim, number>> },
): readonly Row[] {
  return (Object.keys(NAMES) as Victim[]).map((victim) => ({
    name: `${NAMES[victim]} ${ending}`,
    laws: [1, 2, 5, 6],
    attempts: attempts[victim],
    attack: (attack) =>
      victim === 'server' || victim === 'watcher'
        ? hitServed(attack, { whom: victim, blow })
        : hitCallers(attack, { method: victim, blow }),
  }));
}
