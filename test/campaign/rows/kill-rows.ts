/** SIGKILL at a random instant of a call: to the process that makes it, to the server, to the watcher. A thousand in all. */
import type { Row } from '../attack.js';
import { hitCallers, hitServed, type Method } from '../blows.js';

const laws = [1, 2, 5, 6];

const callers: Readonly<Record<Method, { who: string; attempts: number }>> = {
  start: { who: 'a starter', attempts: 250 },
  stop: { who: 'a stopper', attempts: 200 },
  restart: { who: 'a restarter', attempts: 150 },
  supervise: { who: 'a supervisor', attempts: 150 },
};

const ending = 'killed at a random instant leaves nothing that the next calls do not manage';

export const killRows: readonly Row[] = [
  ...Object.entries(callers).map(
    ([method, { who, attempts }]): Row => ({
      name: `${who} ${ending}`,
      laws,
      attempts,
      attack: (attack) => hitCallers(attack, { method: method as Method, blow: 'kill' }),
    }),
  ),
  {
    name: `a server ${ending}`,
    laws,
    attempts: 150,
    attack: (attack) => hitServed(attack, { whom: 'server', blow: 'kill' }),
  },
  {
    name: `the watcher of a tied server ${ending}`,
    laws,
    attempts: 100,
    attack: (attack) => hitServed(attack, { whom: 'watcher', blow: 'kill' }),
  },
];
