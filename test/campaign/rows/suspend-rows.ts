/** SIGSTOP at a random instant of a call, then SIGCONT or SIGKILL: what is a matter of microseconds becomes likely. */
import type { Row } from '../attack.js';
import { hitCallers, hitServed, type Method } from '../blows.js';

const laws = [1, 2, 5, 6];

const callers: Readonly<Record<Method, string>> = {
  start: 'a starter',
  stop: 'a stopper',
  restart: 'a restarter',
  supervise: 'a supervisor',
};

const ending = 'suspended at a random instant makes no second server and is no lasting obstacle';

export const suspendRows: readonly Row[] = [
  ...Object.entries(callers).map(
    ([method, who]): Row => ({
      name: `${who} ${ending}`,
      laws,
      attempts: 50,
      attack: (attack) => hitCallers(attack, { method: method as Method, blow: 'suspend' }),
    }),
  ),
  {
    name: `a server ${ending}`,
    laws,
    attempts: 40,
    attack: (attack) => hitServed(attack, { whom: 'server', blow: 'suspend' }),
  },
  {
    name: `the watcher of a tied server ${ending}`,
    laws,
    attempts: 40,
    attack: (attack) => hitServed(attack, { whom: 'watcher', blow: 'suspend' }),
  },
];
