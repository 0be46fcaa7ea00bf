/** An attack on the state folder itself: it is deleted at a random instant of a start. */
import { renameSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { FlockProcessError, type Instance, PortInUseError, ProcessManager } from '../../../src/index.js';
import { outcomeOf } from '../../helpers/gate.js';
import type { Witness } from '../../helpers/witness.js';
import type { Attack, Round, Row } from '../attack.js';
import { endServers, faultyServer, requireMended } from './fault-attempt.js';

/** About the time that a start takes. */
const START_MS = 60;

export const vanishedFolderRow: Row = {
  name: 'a state folder deleted during a start leads neither to a second server nor to one that the next start does not find',
  laws: [1, 6, 8],
  attempts: 100,
  least: 2,
  attack: (attack) => attack.rounds((round) => deleteFolder(attack, round)),
};

async function deleteFolder(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const manager = new ProcessManager(server.spec);
  const before = attack.random.weighted({ untouched: 1, running: 1, stopped: 1 });
  if (before !== 'untouched') await manager.start();
  if (before === 'stopped') await manager.stop();
  const story: string[] = [before];

  const aliveBefore = server.alive();
  const starting = outcomeOf(manager.start());
  await delay(attack.random.between(0, START_MS));
  remove(attack, server);
  const first = await starting;
  const alive = server.alive();
  story.push(word(first));
  const mayBeAlive = first instanceof Error ? aliveBefore : [first.pid];
  if (!alive.every((pid) => mayBeAlive.includes(pid))) throw new Error(`${story}: alive are [${alive}]`);

  // Without lock file and PID file only the port shows that the first server runs: the second start must name it, not
  // doubt it.
  const second = await outcomeOf(manager.start());
  story.push(word(second));
  server.assertNeverTwo();
  if (second instanceof PortInUseError) {
    if (!isDeepStrictEqual(server.alive(), [second.pid])) {
      throw new Error(`${story}: PID ${second.pid} has the port, alive are [${server.alive()}]`);
    }
    await endServers(server);
  } else if (second instanceof Error) throw second;
  attack.tally(story);
  await requireMended(server);
}

function remove(attack: Attack, { spec: { stateDir } }: Witness): void {
  const gone = attack.random.next() < 0.5 ? stateDir : `${stateDir}.gone`;
  try {
    if (gone !== stateDir) renameSync(stateDir, gone);
    rmSync(gone, { recursive: true, force: true, maxRetries: 5 });
  } catch (error) {
    // ENOENT: the folder is not there yet.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function word(outcome: Instance | Error): string {
  if (!(outcome instanceof Error)) return outcome.reused ? 'reused' : 'spawned';
  if (!(outcome instanceof FlockProcessError)) throw new Error('no error of the contract', { cause: outcome });
  return outcome.name;
}
