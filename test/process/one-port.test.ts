import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { isLocked } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { redisPid } from '../helpers/redis.js';
import { type RemoteManager, startRemoteManager } from '../helpers/remote-manager.js';
import { freePort, rounds, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, redisSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const ROUNDS = rounds(50);

// Their managers mostly wait for locks and ports, so both run together.
describe('two managers of one port', { concurrency: true }, () => {
  test('one of two managers with different locks and the same port becomes ready, and the other fails with PortInUseError', async (t) => {
    const TMPDIR = temporaryFolder(t);
    const errors = await startTogether(t, [TMPDIR, TMPDIR]);
    // Under a common port lock the second manager always checks a port that is in use by then.
    assert.deepEqual([...errors], ['PortInUseError']);
  });

  test('one of two managers with different port locks becomes ready, and the other is never called ready by mistake', async (t) => {
    await startTogether(t, [temporaryFolder(t), temporaryFolder(t)]);
  });
});

test('a server that was spawned later but listens first is not taken for the slow one of another manager', async (t) => {
  const port = await freePort();
  const late = await nodeSpec(t, { 'listen-after': 600_000 }, { port });
  const quick = await redisSpec(t, { port });
  const [slowManager, quickManager] = await Promise.all([
    startRemoteManager(t, late, { env: { ...process.env, TMPDIR: temporaryFolder(t) } }),
    startRemoteManager(t, quick, { env: { ...process.env, TMPDIR: temporaryFolder(t) } }),
  ]);
  const slowStart = slowManager.start();
  slowStart.catch(() => undefined);
  await eventually('the process is spawned', () => spawnedPids(slowManager).length > 0);
  const instance = await quickManager.start();
  assert.equal(await redisPid(port), instance.pid);
  await assert.rejects(slowStart, { name: 'PortInUseError', pid: instance.pid });
  assert.equal(spawnedPids(slowManager).some(isRunningProcess), false);
  assert.equal((await quickManager.start()).pid, instance.pid);
});

/** Starts both managers at once, many times. @returns the names of the errors of the losers */
async function startTogether(t: TestContext, [one, other]: readonly [string, string]): Promise<Set<string>> {
  const port = await freePort();
  const specs = [await redisSpec(t, { port }), await redisSpec(t, { port })] as const;
  const managers = await Promise.all([
    startRemoteManager(t, specs[0], { env: { ...process.env, TMPDIR: one } }),
    startRemoteManager(t, specs[1], { env: { ...process.env, TMPDIR: other } }),
  ]);
  const errors = new Set<string>();
  for (let round = 1; round <= ROUNDS; round += 1) {
    const outcomes = await Promise.allSettled(managers.map((manager) => manager.start()));
    const winner = outcomes.findIndex(({ status }) => status === 'fulfilled');
    const instance = outcomes[winner]?.status === 'fulfilled' ? outcomes[winner].value : undefined;
    const loser = outcomes[1 - winner];
    const told = JSON.stringify(outcomes);
    assert.ok(instance !== undefined && loser?.status === 'rejected', `round ${round}, one is ready: ${told}`);
    assert.match(loser.reason.name, /^(PortInUseError|EarlyExitError)$/, `round ${round}: ${told}`);
    assert.equal(
      await redisPid(port),
      instance.pid,
      `round ${round}, the ready process is the one that answers: ${told}`,
    );
    assert.equal(
      isLocked(`${specs[1 - winner]?.stateDir}/redis.lock`),
      false,
      `round ${round}: the loser left nothing`,
    );
    const spawned = managers.flatMap(spawnedPids).filter(isRunningProcess);
    assert.deepEqual(spawned, [instance.pid], `round ${round}: one server lives`);
    errors.add(loser.reason.name);
    await managers[winner]?.stop();
  }
  return errors;
}

function spawnedPids({ events }: RemoteManager): number[] {
  return events.filter(({ event }) => event === 'spawned').map(({ detail }) => (detail as { pid: number }).pid);
}
