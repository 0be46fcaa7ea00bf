import { type TestContext, test } from 'node:test';
import { runCrowd } from '../helpers/crowd.js';
import { seededRandom } from '../helpers/random.js';
import { rounds } from '../helpers/resources.js';
import { witnessedServer } from '../helpers/witness.js';

const twelve = (t: TestContext) => ({ random: seededRandom(t), callers: 12, forMs: rounds(20) * 1_000 });

test('twelve processes that call at random, some of them killed, never make two servers, and one stop leaves nothing', async (t) => {
  const server = await witnessedServer(t, { listenAfterMs: 15 });
  await runCrowd(t, { server, ...twelve(t) });
});

test('nor do they with a server that takes its time to die, and no port whose lock could keep a second one away', async (t) => {
  const server = await witnessedServer(t, { dieAfterMs: 100 });
  const { port: _, ...spec } = server.spec;
  await runCrowd(t, { server: { ...server, spec }, ...twelve(t) });
});
