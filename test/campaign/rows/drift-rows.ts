/**
 * Starters whose spec is newer than that of the running process. Some of them are killed, and a supervisor may have the
 * first spec.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec } from '../../../src/index.js';
import { eventually } from '../../helpers/waiting.js';
import { type Witness, witnessedServer } from '../../helpers/witness.js';
import { assertNothingLeft } from '../aftermath.js';
import type { Attack, Row } from '../attack.js';
import { Victims } from '../victims.js';

const ATTEMPTS = 120;

/** The time that a start and the stop before it take. */
const KILL_WITHIN_MS = 60;

/**
 * Specs of restarts beside a supervisor that has the first spec: between two of them the supervisor must not start its
 * own.
 */
const LEVELS = [3, 4, 5, 6];

const SECRET = 'never-on-any-disk';

export const driftRows: readonly Row[] = [
  {
    name: 'starts with a newer spec restart the process only once and return one with the newer spec, whichever starter is killed',
    laws: [1, 5, 6],
    attempts: ATTEMPTS,
    least: 4,
    attack: restartWithNewer,
  },
];

async function restartWithNewer(attack: Attack): Promise<void> {
  const { random } = attack;
  const victims = new Victims(attack);
  await attack.rounds(async (round) => {
    const { index } = round;
    const times = random.weighted({ quick: 2, slow: 1 }) === 'quick' ? {} : { listenAfterMs: 20, dieAfterMs: 20 };
    const isSupervised = random.next() < 0.5;
    const supervisor = isSupervised ? victims.next() : undefined;
    // The supervisor must be gone before the server is stopped, even if the attempt fails: it would start the server
    // again.
    round.after(() => supervisor?.kill());
    const server = await witnessedServer(round, times, { stopTimeoutMs: 1_000, whenDifferent: 'restart' });
    const specOf = (level: number): ProcessSpec => ({ ...server.spec, env: { LEVEL: `${SECRET}-${level}` } });
    const [former, newer] = [new ProcessManager(specOf(1)), new ProcessManager(specOf(2))];
    await supervisor?.call('supervise', specOf(1));
    await former.start();
    const starters = [victims.next(), victims.next()];
    await Promise.all(starters.map((starter) => starter.call('start', specOf(2))));
    const isKilling = random.next() < 0.5;
    if (isKilling) {
      await delay(random.between(0, KILL_WITHIN_MS));
      await starters[index % 2]?.kill();
    }
    const words = await Promise.all(starters.map(async ({ outcome }) => (await outcome)?.word ?? 'killed'));
    attack.tally(words);
    const { pid, differences } = await newer.start();
    assert.deepEqual(differences, []);
    assertAlone(server, pid, 2);
    // When no starter was killed, there was one server before and one after.
    if (!isKilling) assert.equal(server.pids().length, 2, 'servers there ever were');
    const { differences: seen, state } = await former.status();
    assert.deepEqual([state, seen], ['running', ['env.LEVEL']]);
    if (supervisor !== undefined) {
      for (const level of LEVELS) await isOvertaken(server, specOf(level), level);
      await bringsBack(server, former);
    }
    assertUnwritten(server.spec.stateDir);
    await newer.stop();
    for (const each of [...starters, supervisor]) await each?.kill();
    await assertNothingLeft(server);
  });
}

async function isOvertaken(server: Witness, spec: ProcessSpec, level: number): Promise<void> {
  const before = server.pids().length;
  const { pid } = await new ProcessManager(spec).start();
  assertAlone(server, pid, level);
  assert.equal(server.pids().length, before + 1, 'servers, with none of the supervisor in between');
}

/** A supervisor does not compare specs: it starts its own spec again after a crash, and not before. */
async function bringsBack(server: Witness, former: ProcessManager): Promise<void> {
  const [pid] = server.alive();
  assert.ok(pid !== undefined, 'no server is alive');
  process.kill(pid, 'SIGKILL');
  const isBack = async () => {
    const status = await former.status();
    return status.state === 'running' && status.pid !== pid ? status : undefined;
  };
  const { pid: next = 0, differences } = await eventually('the supervisor has replaced the killed server', isBack);
  assert.deepEqual(differences, []);
  assertAlone(server, next, 1);
}

function assertAlone(server: Witness, pid: number, level: number): void {
  assert.deepEqual(server.alive(), [pid]);
  const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  assert.ok(variables.includes(`LEVEL=${SECRET}-${level}`), `PID ${pid} is of level ${level}`);
}

function assertUnwritten(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) assert.doesNotMatch(readFileSync(join(entry.parentPath, entry.name), 'utf8'), /never-on/);
  }
}
