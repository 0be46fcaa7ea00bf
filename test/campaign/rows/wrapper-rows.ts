/**
 * Servers that do not carry the lock, and servers that cannot be inspected: there are never two, whichever process is
 * killed, and none after a stop.
 */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, ProcessManager, type ProcessSpec } from '../../../src/index.js';
import { signalUnlessGone, startTicks, statFields } from '../../helpers/evidence.js';
import { journalEntries } from '../../helpers/journal.js';
import { plainFixture } from '../../helpers/paths.js';
import { type Program, startFixture } from '../../helpers/programs.js';
import type { Random } from '../../helpers/random.js';
import { startRemoteManager } from '../../helpers/remote-manager.js';
import { NEVER_GIVE_UP } from '../../helpers/supervisor-process.js';
import { argumentsOf, processesNaming } from '../../helpers/tied.js';
import { undumpable } from '../../helpers/unreadable.js';
import { eventually } from '../../helpers/waiting.js';
import { serversOf, type Wrapper, wrappedSpec } from '../../helpers/wrapped.js';
import type { Round, Row } from '../attack.js';

const WRAPPERS = { node: 4, python: 3, 'npm run': 1, npx: 1 } satisfies Record<Wrapper, number>;

/** Which processes are killed, with weights. */
const VICTIMS = { first: 4, server: 1, both: 1, caller: 2 };

const MOST_BLOWS = 4;

/** Usually long enough for a wrapper to start its server. */
const BETWEEN_BLOWS_MS = 600;

const SAMPLE_MS = 15;

interface Scene {
  spec: ProcessSpec;
  servers: () => number[];
  /** The command in front of the caller's command line. */
  behind?: readonly string[];
}

export const wrapperRows: readonly Row[] = [
  {
    name: 'a server left by a killed wrapper never runs beside a new server, supervised or not, and a stop leaves no server',
    laws: [1, 2, 5, 6],
    attempts: 40,
    attack: (attack) =>
      attack.rounds(async (round) => {
        const { random } = attack;
        const spec = await wrappedSpec(round, random.weighted(WRAPPERS), { hasPort: random.next() < 0.5 });
        await survive(round, random, { spec, servers: () => serversOf(spec) });
      }),
  },
  {
    name: 'a server that cannot be inspected never runs beside a second one, whichever process is killed, and a stop leaves no server',
    laws: [1, 2, 5, 6],
    attempts: 40,
    attack: (attack) =>
      attack.rounds(async (round) => {
        const { random } = attack;
        const words = random.weighted({ '': 2, 'unreadable-later': 1, sleep: 1, 'ignore-term': 1 });
        const { spec, behind } = await undumpable(round, words === '' ? [] : [words], { stopTimeoutMs: 300 });
        const isServer = (pid: number) => argumentsOf(pid)[1] === plainFixture('server.py');
        const servers = () => processesNaming(String(spec.port)).filter(isServer);
        await survive(round, random, { spec, servers, behind });
      }),
  },
];

/** Callers start the server while processes are killed. A call afterwards must work, and a stop must leave nothing. */
async function survive(round: Round, random: Random, { spec, servers, behind = [] }: Scene): Promise<void> {
  const { lockFile } = new ProcessManager(spec).spec;
  const watch = watchSessions(round, servers);
  const isSupervised = random.next() < 0.5;
  const supervisor = startFixture(round, 'supervisor-process', [JSON.stringify(spec), JSON.stringify(NEVER_GIVE_UP)], {
    behind,
  });
  if (!isSupervised) supervisor.kill();
  let caller = await startRemoteManager(round, spec, { behind });
  for (let blows = Math.ceil(random.between(0, MOST_BLOWS)); blows > 0; blows -= 1) {
    // The call rejects when its process is killed in the middle of it.
    caller.start().catch(() => undefined);
    await delay(random.between(0, BETWEEN_BLOWS_MS));
    const victim = random.weighted(VICTIMS);
    if (victim === 'first' || victim === 'both') killFirst(spec);
    if (victim === 'server' || victim === 'both') for (const pid of servers()) signalUnlessGone(pid, 'SIGKILL');
    if (victim === 'caller' && kill([caller.program, supervisor], spec)) {
      caller = await startRemoteManager(round, spec, { behind });
    }
  }
  const method = random.weighted({ start: 2, restart: 1, stop: 1 });
  await caller[method]();
  supervisor.kill();
  await supervisor.exited;
  await caller.stop();
  assert.deepEqual(servers(), [], `servers that ${method} and a stop left`);
  // A start that was under way during the stop can win the lock for an instant before it reads that it is not wanted.
  await eventually('the lock is free', () => !isLocked(lockFile));
  watch.assertNeverTwo();
}

/**
 * Does not kill callers between their `start` and `spawn` lines: a process that cannot be inspected and that no line
 * names is never found (docs/limits.md).
 * @returns whether they were killed
 */
function kill(callers: readonly Program[], spec: ProcessSpec): boolean {
  for (const caller of callers) caller.kill('SIGSTOP');
  const isSpawning = journalEntries(spec, 'start', 'spawn').at(-1)?.event === 'start';
  for (const caller of callers) caller.kill(isSpawning ? 'SIGCONT' : 'SIGKILL');
  return !isSpawning;
}

/** Kills the process that the last `spawn` line names, identified by its start ticks. */
function killFirst(spec: ProcessSpec): void {
  const spawned = journalEntries(spec, 'spawn').at(-1);
  const pid = Number(spawned?.pid);
  if (spawned !== undefined && startTicks(pid) === spawned.startKey) signalUnlessGone(pid, 'SIGKILL');
}

/**
 * Requires that servers are never in two sessions. Each process that a start spawns leads a session that contains its
 * server, so two sessions with servers are two instances.
 */
function watchSessions(round: Round, servers: () => number[]): { assertNeverTwo(): void } {
  const seen: string[] = [];
  const look = () => {
    const sessions = servers().flatMap((pid) => statFields(pid)?.[3] ?? []);
    if (new Set(sessions).size > 1) seen.push([...new Set(sessions)].join(' and '));
  };
  const timer = setInterval(look, SAMPLE_MS);
  round.after(() => clearInterval(timer));
  return { assertNeverTwo: () => assert.deepEqual(seen.slice(0, 3), [], 'sessions with servers at the same time') };
}
