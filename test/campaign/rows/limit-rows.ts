/** Attacks with the limits of a process: it has no descriptor left, or may not make another process. */
import { chmodSync, chownSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Outcome, Step } from '../../fixtures/starved-caller.js';
import { fixture } from '../../helpers/paths.js';
import { startProgram } from '../../helpers/programs.js';
import { startRemoteManager } from '../../helpers/remote-manager.js';
import type { Attack, Round, Row } from '../attack.js';
import {
  ALL_BUT_SUPERVISE,
  attemptWithFault,
  type Caller,
  callerOf,
  faultyServer,
  NO_ERRORS,
  PYTHON_FOR_ALL,
  run,
} from './fault-attempt.js';

/**
 * A range of user IDs without any process. Each attempt has its own ID, because the limit counts the processes of a
 * user.
 */
const FIRST_USER = 30_000;

export const limitRows: readonly Row[] = [
  {
    name: 'with at most 13 free descriptors each call succeeds or fails with a documented error, and calls succeed again afterwards',
    laws: [4, 6, 8],
    attempts: 50,
    attack: (attack) => attack.rounds((round) => useUpDescriptors(attack, round)),
  },
  {
    name: 'when the user may create at most 2 more processes each call succeeds or fails with a documented error, and calls succeed again afterwards',
    laws: [4, 6, 8],
    attempts: 40,
    attack: (attack) => attack.rounds((round) => forbidForking(attack, round)),
  },
];

async function useUpDescriptors(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const words = ['--nofile=64', process.execPath, fixture('starved-caller'), JSON.stringify(server.spec)];
  const program = startProgram(round, 'prlimit', words, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  await program.message();
  const ask = async (step: Step) => {
    program.send(step);
    const { result, error } = await program.message<Outcome>();
    if (error !== undefined) throw Object.assign(new Error(error.message), error);
    return result;
  };
  // The code that a first call loads needs descriptors, too.
  if (attack.random.next() < 0.5) await ask({ method: 'status' });
  const call: Caller = async (method) => {
    const leave = Math.floor(attack.random.between(0, 14));
    return await ask({ method: method as Step['method'], leave });
  };
  await attemptWithFault(attack, round, {
    server,
    errors: {
      start: ['SpawnError', 'LockUnavailableError', 'StateFileError'],
      stop: ['StateFileError', 'LockUnavailableError'],
      restart: ['SpawnError', 'LockUnavailableError', 'StateFileError'],
      status: ['LockUnavailableError'],
    },
    call,
    methods: ALL_BUT_SUPERVISE,
    strike: () => {},
    lift: () => {},
  });
  if (!program.isAlive) throw new Error(`the caller ended: ${program.stderr}`);
}

async function forbidForking(attack: Attack, round: Round): Promise<void> {
  const user = FIRST_USER + Math.floor(attack.random.between(0, 30_000));
  const server = await faultyServer(round, { command: PYTHON_FOR_ALL });
  const { stateDir } = server.spec;
  mkdirSync(stateDir);
  for (const folder of [dirname(stateDir), stateDir]) chownSync(folder, user, user);
  chmodSync(attack.folder, 0o755);
  const remote = await startRemoteManager(round, server.spec, { uid: user, gid: user });
  const room = Number(attack.random.weighted({ 0: 3, 1: 1, 2: 1 }));
  await attemptWithFault(attack, round, {
    server,
    errors: { ...NO_ERRORS, start: ['SpawnError'], restart: ['SpawnError'] },
    prepare: callerOf(remote),
    call: callerOf(remote),
    methods: ALL_BUT_SUPERVISE,
    strike: () => limitProcesses(user, remote.program.pid, room),
    lift: () => remote.kill(),
  });
}

/**
 * Limits the processes of a user; the kernel counts threads. The user itself sets the limit, because for another user
 * that needs a capability that containers rarely give.
 */
function limitProcesses(user: number, pid: number, room: number): void {
  const limit = readdirSync(`/proc/${pid}/task`).length + room;
  const asUser = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
  run('setpriv', ...asUser, 'prlimit', '--pid', String(pid), `--nproc=${limit}:`);
}
