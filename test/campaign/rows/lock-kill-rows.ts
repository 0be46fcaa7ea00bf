/** Attacks on processes that use the lock: they are killed and suspended at random instants. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { acquireLock, isLocked, LockHeldError, lockHolders } from '../../../src/index.js';
import type { Options } from '../../fixtures/lock-user.js';
import { reachesState } from '../../helpers/outside-view.js';
import { type Program, startFixture } from '../../helpers/programs.js';
import type { Attack, Round, Row } from '../attack.js';

export const killedHolderRow: Row = {
  name: 'a holder that is killed at a random instant leaves the lock free',
  laws: [1, 6],
  attempts: 200,
  async attack(attack) {
    let hits = 0;
    await attack.rounds(async (round) => {
      const { path, user } = await startUser(attack, round, String(round.index));
      await suspendSomewhere(attack, user);
      if (kindOfLock(user.pid, path) === 'WRITE') hits += 1;
      user.kill();
      await user.exited;
      if (isLocked(path)) throw new Error('it is locked by a dead process');
      acquireLock(path).release();
    });
    attack.remark(`${hits} of ${attack.attempted} had the lock`);
  },
};

export const stoppedHolderRow: Row = {
  name: 'a suspended holder keeps its lock, and a process suspended without the lock is not a holder',
  laws: [1, 3, 8],
  attempts: 1_000,
  async attack(attack) {
    let hits = 0;
    const { path, user } = await startUser(attack, attack, 'x');
    await attack.rounds(async () => {
      await suspendSomewhere(attack, user);
      const isHeld = kindOfLock(user.pid, path) === 'WRITE';
      if (isHeld) hits += 1;
      const answers = { isLocked: isLocked(path), holders: await lockHolders(path), isRefused: isRefused(path) };
      const right = { isLocked: isHeld, holders: isHeld ? [user.pid] : [], isRefused: isHeld };
      user.kill('SIGCONT');
      if (JSON.stringify(answers) !== JSON.stringify(right)) throw new Error(JSON.stringify({ answers, right }));
    });
    attack.remark(`${hits} of ${attack.attempted} had the lock`);
  },
};

export const stoppedAskerRow: Row = {
  name: 'a process suspended inside isLocked() is never reported as a holder, and blocks an acquire only while it has LOCK_SH',
  laws: [3, 8],
  attempts: 300,
  least: 3,
  async attack(attack) {
    const path = join(attack.folder, 'x.lock');
    writeFileSync(path, '');
    const asker = startFixture(attack, 'prober', [path]);
    await asker.printed(/begun/);
    let hits = 0;
    await attack.rounds(async () => {
      await suspendSomewhere(attack, asker);
      const isInTheWay = kindOfLock(asker.pid, path) === 'READ';
      if (isInTheWay) hits += 1;
      const answers = { isLocked: isLocked(path), holders: await lockHolders(path), isRefused: isRefused(path) };
      asker.kill('SIGCONT');
      const right = { isLocked: false, holders: [], isRefused: isInTheWay };
      if (JSON.stringify(answers) !== JSON.stringify(right)) throw new Error(JSON.stringify({ answers, right }));
      acquireLock(path).release();
    });
    attack.remark(`${hits} of ${attack.attempted} had LOCK_SH`);
  },
};

async function startUser(attack: Attack, test: Pick<Round, 'after'>, name: string) {
  const path = join(attack.folder, `${name}.lock`);
  const options: Options = {
    path,
    seed: attack.random.fork(),
    how: 'acquire',
    times: Number.MAX_SAFE_INTEGER,
    holdMs: 3,
    folder: attack.folder,
  };
  const user = startFixture(test, 'lock-user', [JSON.stringify(options)]);
  await user.message();
  return { path, user };
}

async function suspendSomewhere(attack: Attack, program: Program): Promise<void> {
  await delay(attack.random.between(0, 10));
  const end = performance.now() + attack.random.between(0, 1);
  while (performance.now() < end);
  program.kill('SIGSTOP');
  await reachesState(program.pid, 'T');
}

function isRefused(path: string): boolean {
  try {
    acquireLock(path).release();
    return false;
  } catch (error) {
    if (error instanceof LockHeldError) return true;
    throw error;
  }
}

/** The kind of lock that the process has, according to the kernel: WRITE is LOCK_EX, READ is LOCK_SH. */
function kindOfLock(pid: number, path: string): string | undefined {
  const folder = `/proc/${pid}`;
  const fd = readdirSync(`${folder}/fd`).find((name) => readlinkSync(`${folder}/fd/${name}`) === path);
  return fd && /^lock:.* FLOCK +ADVISORY +(\w+) /m.exec(readFileSync(`${folder}/fdinfo/${fd}`, 'latin1'))?.[1];
}
