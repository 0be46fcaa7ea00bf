/**
 * Attacks on the clock: the clock of the calling process or the time of boot, from which start times are computed,
 * jumps back and forth, or the monotonic clock stands still while the machine sleeps.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ProcessManager, type Status } from '../../../src/index.js';
import { fixture } from '../../helpers/paths.js';
import { startProgram } from '../../helpers/programs.js';
import { RemoteManager, startRemoteManager } from '../../helpers/remote-manager.js';
import { ShiftedClocks } from '../../helpers/shifted-clocks.js';
import { eventually } from '../../helpers/waiting.js';
import type { Attack, Round, Row } from '../attack.js';
import { ALL_BUT_SUPERVISE, attemptWithFault, callerOf, faultyServer, NO_ERRORS } from './fault-attempt.js';

const HOUR_S = 3_600;
const YEAR_S = 8_766 * HOUR_S;
const JUMPS_S = [-30 * YEAR_S, -YEAR_S, -HOUR_S, -5, 5, HOUR_S, YEAR_S, 30 * YEAR_S];

export const clockRows: readonly Row[] = [
  {
    name: 'a clock that jumps back and forth changes the outcome of no call',
    laws: [4, 5, 6],
    attempts: 60,
    attack: (attack) => attack.rounds((round) => setClock(attack, round)),
  },
  {
    name: 'a boot time that jumps, as it does when the clock is set, changes the outcome of no call',
    laws: [4, 5, 6],
    attempts: 40,
    attack: (attack) => attack.rounds((round) => setBootTime(attack, round)),
  },
  {
    name: 'after the machine has slept, no process is reported as younger than it is',
    laws: [5, 6],
    attempts: 40,
    attack: (attack) => attack.rounds((round) => sleepOften(attack, round)),
  },
];

/** Sets the wall clock that this process sees, for as long as the calls take. Waits are measured by another clock. */
async function setClock(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const { now } = Date;
  const restore = () => {
    Date.now = now;
  };
  round.after(restore);
  await attemptWithFault(attack, round, {
    server,
    errors: NO_ERRORS,
    strike: () => {
      let jumpS = jump(attack);
      Date.now = () => {
        if (attack.random.next() < 0.2) jumpS = jump(attack);
        return now() + jumpS * 1_000;
      };
    },
    lift: restore,
  });
}

/** Shows another process a /proc/stat of its own, whose time of boot jumps. */
async function setBootTime(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const stat = join(dirname(server.spec.stateDir), 'stat');
  const truth = readFileSync('/proc/stat', 'utf8');
  const set = (jumpS: number) => {
    const jumped = (_: string, seconds: string) => `btime ${Math.max(1, Number(seconds) + jumpS)}`;
    writeFileSync(stat, truth.replace(/^btime (\d+)$/m, jumped));
  };
  set(0);
  const words = ['--mount', 'sh', '-c', 'mount --bind "$0" /proc/stat && exec "$@"', stat];
  const command = [process.execPath, fixture('remote-manager'), JSON.stringify(server.spec)];
  const stdio: ('ignore' | 'pipe' | 'ipc')[] = ['ignore', 'pipe', 'pipe', 'ipc'];
  const remote = new RemoteManager(startProgram(round, 'unshare', [...words, ...command], { stdio }));
  await eventually('the manager is up', () => remote.events.length > 0);
  const call = callerOf(remote);
  await attemptWithFault(attack, round, {
    server,
    errors: NO_ERRORS,
    methods: ALL_BUT_SUPERVISE,
    call: async (method) => {
      set(jump(attack));
      return await call(method);
    },
    strike: () => {},
    lift: () => set(0),
  });
}

/** Makes the monotonic clock of another process stand still, as when the machine sleeps. */
async function sleepOften(attack: Attack, round: Round): Promise<void> {
  const server = await faultyServer(round);
  const clocks = new ShiftedClocks(round);
  const remote = await startRemoteManager(round, server.spec, { env: clocks.env });
  const here = new ProcessManager(server.spec);
  const call = callerOf(remote);
  await attemptWithFault(attack, round, {
    server,
    errors: NO_ERRORS,
    methods: { ...ALL_BUT_SUPERVISE, status: 6 },
    call: async (method) => {
      await clocks.sleep(remote.program, attack.random.between(50, 700));
      const before = await here.status();
      const answer = await call(method);
      if (method === 'status') assertAsOld(answer as Status, before);
      return answer;
    },
    strike: () => {},
    lift: () => {},
  });
}

/** Ages are whole clock ticks, and asking for them takes time. */
const AGE_SLACK_MS = 40;

function assertAsOld(there: Status, here: Status): void {
  if (here.pid === undefined || there.pid !== here.pid) return;
  const least = Number(here.uptimeMs) - AGE_SLACK_MS;
  assert.ok(Number(there.uptimeMs) >= least, `${there.uptimeMs} ms old there, ${here.uptimeMs} ms here`);
}

function jump({ random }: Attack): number {
  return JUMPS_S[Math.floor(random.between(0, JUMPS_S.length))] ?? 0;
}
