/**
 * Owners that start() has not spawned: an older tool without a kernel lock, and a process that has become the managed
 * one itself.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager } from '../../../src/index.js';
import { bothModes } from '../../helpers/becoming.js';
import { isRunningProcess } from '../../helpers/evidence.js';
import { leaveStale, olderWorld, raceOnce } from '../../helpers/older-owner.js';
import type { Program } from '../../helpers/programs.js';
import { killAfter } from '../../helpers/resources.js';
import { processesNaming } from '../../helpers/tied.js';
import { eventually } from '../../helpers/waiting.js';
import type { Attack, Round, Row } from '../attack.js';

/** A Node program has become the process by this time after its spawn, and spends most of the time on that. */
const BECOMES_WITHIN_MS = 400;

export const foreignOwnerRows: readonly Row[] = [
  {
    name: 'a start at the same time as that of an older tool without a kernel lock never causes a second server',
    laws: [1, 4],
    attempts: 200,
    async attack(attack) {
      const { random } = attack;
      const world = await olderWorld(attack);
      const dead = spawnSync('true').pid;
      await attack.rounds(async () => {
        const stale = ['temporal.lock', 'temporal.pid'].filter(() => random.next() < 0.3);
        leaveStale(world, dead, ...stale);
        attack.tally([await raceOnce(world, random.next() < 0.5, 200 * random.next() ** 3)]);
      });
    },
  },
  {
    name: 'a process that calls become() is reused, replaced and stopped like a spawned one, at any instant, and never runs beside a second one',
    laws: [1, 2, 4, 5, 6],
    attempts: 120,
    attack: (attack) => attack.rounds((round) => meetAtAnyInstant(attack, round)),
  },
];

async function meetAtAnyInstant(attack: Attack, round: Round): Promise<void> {
  const { random } = attack;
  const { spec, run, wereTwo } = await bothModes(round);
  const manager = new ProcessManager(spec);
  const program = run('bystander');
  const bystander = program.printed(/^bystander (\d+)$/m).then(
    (match) => killAfter(round, Number(match[1])),
    () => undefined, // The starter was killed before it had an instance.
  );
  const what = random.weighted({ kill: 3, start: 3, stop: 2, restart: 2 });
  await delay(random.between(0, BECOMES_WITHIN_MS));
  const isThere = isLocked(manager.spec.lockFile);
  if (what === 'kill') program.kill();
  else await manager[what]();
  const word = what === 'kill' ? String((await program.ended()).signal) : await outcomeOf(program);
  attack.tally([`${what} ${isThere ? 'late' : 'early'}: ${word}`]);

  const { pid, reused } = await manager.start();
  const { state, pid: reported } = await manager.status();
  assert.deepEqual([state, reported], ['running', pid]);
  assert.deepEqual([reused, program.isAlive], word === 'ready' ? [true, pid === program.pid] : [reused, false]);
  assert.deepEqual(processesNaming(spec.stateDir), [pid]);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.deepEqual(processesNaming(spec.stateDir), []);
  assert.equal(isLocked(manager.spec.lockFile), false);
  assert.equal(wereTwo(), false);
  const beside = await bystander;
  assert.ok(beside === undefined || isRunningProcess(beside), 'somebody of its group was signalled');
}

/** 'ready', unless the process ended because it was signalled or because another one was quicker. */
async function outcomeOf(program: Program): Promise<string> {
  await eventually(
    'the program is ready or has ended',
    () => !isRunningProcess(program.pid) || /^ready/m.test(program.stdout),
  );
  if (isRunningProcess(program.pid)) return 'ready';
  const { exitCode, signal, stdout } = await program.ended();
  if (exitCode !== null) assert.match(stdout, /^ERR_(LOCK_HELD|STOPPED) /m);
  return exitCode === null ? String(signal) : 'refused';
}
