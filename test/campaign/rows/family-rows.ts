/**
 * Attacks on the lifetime of the lock, which lives exactly as long as the server and every process that inherited it.
 */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { hasBegunToEnd } from '../../helpers/evidence.js';
import type { Random } from '../../helpers/random.js';
import { eventually } from '../../helpers/waiting.js';
import type { Row } from '../attack.js';
import { type OddServer, oddServer } from '../odd-server.js';

/** Kinds of children that inherit the server's descriptors, with weights. */
const KINDS = { stay: 2, ignore: 1, session: 2, grandchild: 2 };

const MOST_CHILDREN = 4;

/** The time after which a process that ignores the stop signal is killed. */
const STOP_MS = 250;

export const familyRows: readonly Row[] = [
  {
    name: 'the lock becomes free exactly when the last member of the family ends',
    laws: [2],
    attempts: 60,
    attack: (attack) =>
      attack.rounds(async (round) => {
        const server = await oddServer(round, family(attack.random), { stopTimeoutMs: STOP_MS });
        await server.manager.start();
        await endOneByOne(server, attack.random, 0);
        assert.equal((await server.manager.status()).state, 'stopped');
        assert.equal((await server.manager.stop()).outcome, 'not-running');
        await server.assertNothingLeft();
      }),
  },
  {
    name: 'a start and a stop work despite the survivors of a dead server, and end them',
    laws: [1, 2, 5, 6],
    attempts: 80,
    attack: (attack) =>
      attack.rounds(async (round) => {
        const { random } = attack;
        const server = await oddServer(round, family(random), { stopTimeoutMs: STOP_MS });
        const { manager } = server;
        const { pid } = await manager.start();
        process.kill(pid, 'SIGKILL');
        // Until a killed server is scheduled and dies, it is found like any other.
        await eventually('the server has begun to end', () => hasBegunToEnd(pid), { everyMs: 1 });
        await endOneByOne(server, random, Math.ceil(random.between(0, server.living().length)));
        // Some calls are made while the server is exiting.
        await delay(random.between(0, 10));
        const old = server.living().filter((member) => member !== pid);
        const method = random.weighted({ start: 2, stop: 1, restart: 1 });
        const outcome = await manager[method]();
        assert.deepEqual(
          server.living().filter((member) => old.includes(member)),
          [],
          `left by ${method}()`,
        );
        if ('pid' in outcome) {
          assert.deepEqual([outcome.reused, server.living().includes(outcome.pid)], [false, true]);
          assert.equal((await manager.status()).state, 'running');
          assert.notEqual((await manager.stop()).outcome, 'not-running');
        }
        await server.assertNothingLeft();
      }),
  },
];

function family(random: Random): string[] {
  const size = Math.ceil(random.between(0, MOST_CHILDREN));
  return Array.from({ length: size }, () => random.weighted(KINDS));
}

/** Ends the members one after another in a random order, until `left` of them remain. */
async function endOneByOne(server: OddServer, random: Random, left: number): Promise<void> {
  for (;;) {
    const living = server.living();
    assert.equal(server.isLockFree(), living.length === 0, `${living.length} of the family live`);
    if (living.length <= left) return;
    const victim = living[Math.floor(random.between(0, living.length))] as number;
    process.kill(victim, 'SIGKILL');
    await eventually('the killed member of the family has ended', () => !server.living().includes(victim), {
      everyMs: 1,
    });
  }
}
