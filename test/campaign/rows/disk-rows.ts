/** Attacks on the file system of the state folder: it has no space left, no room for another file, or is read-only. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startPowerlessManager } from '../../helpers/powerless.js';
import type { Attack, Round, Row } from '../attack.js';
import { ALL_BUT_SUPERVISE, attemptWithFault, callerOf, faultyServer, NO_ERRORS, run } from './fault-attempt.js';

const BALLAST = 'ballast';

export const diskRows: readonly Row[] = [
  {
    name: 'on a full disk each call succeeds or fails with a documented error, and calls succeed again afterwards',
    laws: [6, 8],
    attempts: 60,
    attack: (attack) => attack.rounds((round) => fillDisk(attack, round)),
  },
  {
    name: 'on a disk with at most 5 free inodes each call succeeds or fails with a documented error, and calls succeed again afterwards',
    laws: [6, 8],
    attempts: 60,
    attack: (attack) => attack.rounds((round) => useUpFiles(attack, round)),
  },
  {
    name: 'on a disk that was remounted read-only each call succeeds or fails with a documented error, and calls succeed again afterwards',
    laws: [6, 8],
    attempts: 40,
    attack: (attack) => attack.rounds((round) => remountReadOnly(attack, round)),
  },
  {
    name: 'in a state folder without write permission each call succeeds or fails with a documented error, and calls succeed again afterwards',
    laws: [6, 8],
    attempts: 30,
    attack: (attack) => attack.rounds((round) => forbidWriting(attack, round)),
  },
];

async function fillDisk(attack: Attack, round: Round): Promise<void> {
  const { server, stateDir } = await serverOnDisk(round, 'size=64k');
  const ballast = join(stateDir, BALLAST);
  const room = Number(attack.random.weighted({ 0: 3, 1: 1, 2: 1 })) * 4096;
  await attemptWithFault(attack, round, {
    server,
    // A PID file that cannot be written is no error; a journal that cannot be written is. It makes each start of a
    // supervisor fail, and these failures count as crashes.
    // Each start of a supervisor fails then, which counts.
    errors: {
      ...NO_ERRORS,
      start: ['StateFileError'],
      stop: ['StateFileError'],
      restart: ['StateFileError'],
      supervise: ['CrashLoopError'],
    },
    strike: () => {
      writeUntilFull(`${ballast}.room`, room);
      writeUntilFull(ballast, 1 << 20);
      rmSync(`${ballast}.room`, { force: true });
    },
    lift: () => rmSync(ballast, { force: true }),
  });
}

async function useUpFiles(attack: Attack, round: Round): Promise<void> {
  const { server, stateDir } = await serverOnDisk(round, 'size=1m,nr_inodes=32');
  const room = Math.floor(attack.random.between(0, 6));
  const names = Array.from({ length: 64 }, (_, index) => join(stateDir, `${BALLAST}${index}`));
  await attemptWithFault(attack, round, {
    server,
    errors: { stop: ['StateFileError'], status: [] },
    strike: () => {
      const made = names.filter((name) => writeUntilFull(name, 0));
      for (const name of made.slice(0, room)) rmSync(name);
    },
    lift: () => {
      for (const name of names) rmSync(name, { force: true });
    },
  });
}

async function remountReadOnly(attack: Attack, round: Round): Promise<void> {
  const { server, stateDir } = await serverOnDisk(round, 'size=1m');
  await attemptWithFault(attack, round, {
    server,
    // An existing lock file can be locked without writing to it; then it is the journal that cannot be written.
    errors: { start: ['LockUnavailableError', 'StateFileError'], stop: ['StateFileError'], status: [] },
    // Remounting the file system itself is refused while a file in it is open for writing, as the lock file and the log
    // of a running server are. A read-only bind mount over it is not.
    strike: () => {
      run('mount', '--bind', stateDir, stateDir);
      run('mount', '-o', 'remount,ro,bind', stateDir);
    },
    lift: () => unmount(stateDir, 1),
  });
}

async function forbidWriting(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const { stateDir } = server.spec;
  mkdirSync(stateDir, { mode: 0o700 });
  const powerless = await startPowerlessManager(round, server.spec);
  await attemptWithFault(attack, round, {
    server,
    prepare: callerOf(powerless),
    call: callerOf(powerless),
    methods: ALL_BUT_SUPERVISE,
    strike: () => {
      const names = readdirSync(stateDir).filter(() => attack.random.next() < 0.3);
      for (const name of names) chmodSync(join(stateDir, name), name === 'logs' ? 0o500 : 0o400);
      chmodSync(stateDir, attack.random.next() < 0.2 ? 0o000 : 0o500);
    },
    lift: () => {
      chmodSync(stateDir, 0o700);
      for (const name of readdirSync(stateDir)) chmodSync(join(stateDir, name), name === 'logs' ? 0o700 : 0o600);
    },
  });
}

/** A server whose state folder is a file system of its own. */
async function serverOnDisk(round: Round, options: string) {
  const server = await faultyServer(round, { beforeRemoval: () => unmount(server.spec.stateDir, 0) });
  const { stateDir } = server.spec;
  mkdirSync(stateDir, { mode: 0o700 });
  run('mount', '-t', 'tmpfs', '-o', `mode=700,${options}`, 'none', stateDir);
  return { server, stateDir };
}

/**
 * Unmounts until `left` mounts remain at the path. It does so lazily, because a failed attempt may have left a file
 * open there.
 */
function unmount(path: string, left: number): void {
  const count = () => readFileSync('/proc/self/mountinfo', 'utf8').split(` ${path} `).length - 1;
  while (count() > left) run('umount', '--lazy', path);
}

/** @returns whether there was room to create the file */
function writeUntilFull(path: string, bytes: number): boolean {
  try {
    writeFileSync(path, Buffer.alloc(bytes));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    return false;
  }
}
