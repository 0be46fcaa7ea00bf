/** Servers that misbehave: each time the outcome is the documented one, and nothing is left. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { basename } from 'node:path';
import { FlockProcessError, ProcessManager, type ProcessSpec, type StartTimeoutError } from '../../../src/index.js';
import { startTicks } from '../../helpers/evidence.js';
import type { Random } from '../../helpers/random.js';
import { argumentsOf } from '../../helpers/tied.js';
import { eventually } from '../../helpers/waiting.js';
import type { Row } from '../attack.js';
import { type OddServer, oddServer } from '../odd-server.js';
import { familyRows } from './family-rows.js';
import { logRow } from './log-row.js';
import { wrapperRows } from './wrapper-rows.js';

interface Oddity {
  name: string;
  attempts: number;
  /** The arguments of server.py. */
  behaviour(random: Random): readonly string[];
  changes?: Partial<ProcessSpec>;
  /** Makes the calls, after which there must be nothing left. */
  meet(server: OddServer, random: Random): Promise<void>;
}

const SHORT_MS = 300;

/** Even on a busy machine a server has begun to run by this time. */
const MOST_START_MS = 8_000;

/** How much longer than its time options a start or a stop may take on a busy machine. */
const MARGIN_MS = 5_000;

const oddities: readonly Oddity[] = [
  {
    name: 'a server that puts itself into the background is adopted, and a stop ends it',
    attempts: 40,
    behaviour: () => ['daemonise'],
    async meet({ manager, members }) {
      const { pid, reused } = await manager.start();
      assert.deepEqual([pid, reused], [members().at(-1), false]);
      const { state, pid: reported } = await manager.status();
      assert.deepEqual([state, reported], ['running', pid]);
      assert.equal((await manager.stop()).outcome, 'stopped');
    },
  },
  {
    name: 'a server that ignores the stop signal is killed in time',
    attempts: 40,
    behaviour: () => ['ignore-term'],
    changes: { stopTimeoutMs: SHORT_MS },
    async meet({ manager }, random) {
      const { pid } = await manager.start();
      const began = performance.now();
      if (random.next() < 0.5) assert.notEqual((await manager.restart()).pid, pid);
      else assert.equal((await manager.stop()).outcome, 'killed');
      const took = performance.now() - began;
      assert.ok(took >= SHORT_MS - 1 && took < SHORT_MS + MARGIN_MS, `it took ${took} ms`);
      assert.equal(startTicks(pid), undefined);
      await manager.stop();
    },
  },
  {
    name: 'a start fails and ends the server when the server closes its descriptors',
    attempts: 40,
    behaviour: () => ['close-descriptors'],
    async meet({ manager }) {
      await failsWith('ERR_LOCK_DROPPED', manager.start());
      assert.equal((await manager.status()).state, 'stopped');
    },
  },
  {
    name: 'a server that floods its log starts and stops, and logTail() returns its last lines',
    attempts: 20,
    behaviour: () => ['flood'],
    async meet({ manager }, random) {
      await manager.start();
      await eventually('the log is not empty', async () => (await manager.logTail()).length > 0);
      const lines = Math.floor(random.between(1, 1_000));
      const tail = await manager.logTail(lines);
      assert.ok(tail.length <= lines && tail.slice(0, -1).every((line) => /^line \d+ of a flood$/.test(line)));
      assert.equal((await manager.status()).state, 'running');
      assert.equal((await manager.stop()).outcome, 'stopped');
    },
  },
  {
    name: 'a start times out when the server never becomes ready',
    attempts: 30,
    behaviour: () => ['no-port'],
    meet: (server) => runsOutOfTime(server, 'port'),
  },
  {
    name: 'a start times out when the server accepts connections but fails its health check',
    attempts: 30,
    behaviour: () => [],
    changes: { isHealthy: () => false },
    meet: (server) => runsOutOfTime(server, 'health'),
  },
  {
    name: 'a server that dies at a random instant is reported as stopped, and can be started again',
    attempts: 60,
    behaviour: (random) => [
      `dies=${Math.round(random.between(0, 120))},${random.weighted({ 0: 1, 3: 1, '-9': 1, '-11': 1 })}`,
    ],
    async meet({ manager, living, members, isLockFree }) {
      const started = await manager.start().catch((error: FlockProcessError) => error);
      if (started instanceof Error) assert.equal(started.code, 'ERR_EARLY_EXIT', started.message);
      await eventually('the server has ended', () => members().length > 0 && living().length === 0);
      assert.equal(isLockFree(), true);
      assert.equal((await manager.status()).state, 'stopped');
      const before = members().length;
      const again = await manager.start().catch((error: FlockProcessError) => error);
      if (again instanceof Error) assert.equal(again.code, 'ERR_EARLY_EXIT', again.message);
      assert.equal(members().length, before + 1);
      await manager.stop();
    },
  },
  {
    name: 'a server that becomes another program through exec is still the managed process, with or without its PID file',
    attempts: 40,
    behaviour: (random) => [`exec=${Math.round(random.between(0, 150))}`],
    changes: { port: undefined as never },
    async meet({ manager }, random) {
      const { pid } = await manager.start();
      await eventually('the server has become another program', () => basename(argumentsOf(pid)[0] ?? '') === 'sleep');
      if (random.next() < 0.5) rmSync(manager.spec.pidFile);
      const { state, pid: reported } = await manager.status();
      assert.deepEqual([state, reported], ['running', pid]);
      const { pid: same, reused } = await manager.start();
      assert.deepEqual([same, reused], [pid, true]);
      if (random.next() < 0.5) rmSync(manager.spec.pidFile);
      assert.equal((await manager.stop()).outcome, 'stopped');
    },
  },
];

export const serverRows: readonly Row[] = [
  ...oddities.map(
    ({ name, attempts, behaviour, changes, meet }): Row => ({
      name,
      laws: [2, 6],
      attempts,
      attack: (attack) =>
        attack.rounds(async (round) => {
          const server = await oddServer(round, behaviour(attack.random), changes);
          await meet(server, attack.random);
          await server.assertNothingLeft();
        }),
    }),
  ),
  ...familyRows,
  ...wrapperRows,
  logRow,
];

async function failsWith(code: string, start: Promise<unknown>): Promise<FlockProcessError> {
  const outcome = await start.catch((error: unknown) => error);
  assert.ok(outcome instanceof FlockProcessError, `it should fail: ${outcome}`);
  assert.equal(outcome.code, code, outcome.message);
  return outcome;
}

/**
 * Starts the server until its start time is over. It tries again with more time when a busy machine did not even let
 * the server reach the state in which it is to be given up.
 */
async function runsOutOfTime({ manager, members }: OddServer, missing: 'port' | 'health'): Promise<void> {
  for (let startTimeoutMs = SHORT_MS; ; startTimeoutMs *= 3) {
    const { checks } = await givenUpAfter(startTimeoutMs, manager.spec);
    const hadTime = members().length > 0 && (missing === 'port' || checks.port === true);
    if (!hadTime && startTimeoutMs < MOST_START_MS) continue;
    assert.equal(checks[missing], false);
    return;
  }
}

async function givenUpAfter(startTimeoutMs: number, spec: ProcessSpec): Promise<StartTimeoutError['status']> {
  const began = performance.now();
  const start = new ProcessManager({ ...spec, startTimeoutMs }).start();
  const { status } = (await failsWith('ERR_START_TIMEOUT', start)) as StartTimeoutError;
  const took = performance.now() - began;
  assert.ok(took >= startTimeoutMs - 1 && took < startTimeoutMs + MARGIN_MS, `it took ${took} ms`);
  return status;
}
