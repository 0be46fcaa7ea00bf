/** A few processes start, stop, restart and ask at random, while some of them are killed or suspended. */
import { runCrowd } from '../../helpers/crowd.js';
import { witnessedServer } from '../../helpers/witness.js';
import type { Row } from '../attack.js';

const CALLERS = 4;
const FULL_MS = 40_000;
const LEAST_MS = 1_000;

const servers = {
  'with a server that is slow to listen': { listenAfterMs: 15 },
  'with a server that is slow to end and has no port': { dieAfterMs: 100 },
};

export const randomRows: readonly Row[] = Object.entries(servers).map(
  ([kind, times]): Row => ({
    name: `random calls of ${CALLERS} processes never cause a second server, and a stop is final, ${kind}`,
    laws: [1, 5, 6],
    attempts: 1,
    async attack(attack) {
      const server = await witnessedServer(attack, times);
      const { port, ...portless } = server.spec;
      const spec = kind.endsWith('no port') ? portless : { ...portless, port };
      const forMs = attack.duration(FULL_MS, LEAST_MS);
      const crowd = { server: { ...server, spec }, random: attack.random, callers: CALLERS, forMs };
      attack.count(await runCrowd(attack, crowd));
    },
  }),
);
