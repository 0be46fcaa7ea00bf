/** Stigmer's older command-line tool (fixtures/older-owner.ts), which uses the same folder as the Temporal preset. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  EarlyExitError,
  FlockProcessError,
  LockUnavailableError,
  PortInUseError,
  ProcessManager,
  type ProcessSpec,
  temporalDevServer,
} from '../../src/index.js';
import type { OlderOutcome } from '../fixtures/older-owner.js';
import { isRunningProcess, killUnlessGone } from './evidence.js';
import { type Program, startFixture } from './programs.js';
import { temporaryFolder } from './resources.js';
import { eventually } from './waiting.js';
import { type Witness, witnessedServer } from './witness.js';

type Test = Parameters<typeof temporaryFolder>[0];

/** The preset's predecessor check for the `.stigmer` of this home folder, which only one test uses. */
export function predecessorIn(home: string): NonNullable<ProcessSpec['predecessor']> {
  const before = process.env.HOME;
  process.env.HOME = home;
  try {
    return temporalDevServer().predecessor ?? assert.fail('it asks for none');
  } finally {
    process.env.HOME = before;
  }
}

export interface OlderWorld {
  readonly folder: string;
  readonly server: Witness;
  readonly manager: ProcessManager;
  /** Starts the older tool, which then waits to be told to start the same server. */
  owner(): Promise<Program>;
}

/** The server is called "temporal" and notices another server on its database. It listens 150 ms after its start. */
export async function olderWorld(test: Test): Promise<OlderWorld> {
  const home = temporaryFolder(test);
  const folder = join(home, '.stigmer');
  const changes = { name: 'temporal', stateDir: folder, stopTimeoutMs: 5_000, predecessor: predecessorIn(home) };
  const server = await witnessedServer(test, { listenAfterMs: 150 }, changes);
  const command = join(home, 'temporal');
  symlinkSync(server.spec.command, command);
  const spec = { ...server.spec, command };
  return {
    folder,
    server,
    manager: new ProcessManager(spec),
    async owner() {
      const program = startFixture(test, 'older-owner', [folder, command, ...(spec.args ?? [])]);
      await program.message();
      return program;
    },
  };
}

/** Leaves in the folder what an earlier run may have left: nothing, or files that name dead processes. */
export function leaveStale({ folder }: OlderWorld, deadPid: number, ...names: readonly string[]): void {
  mkdirSync(folder, { recursive: true });
  for (const name of names) writeFileSync(join(folder, name), `${deadPid}\n`);
}

/**
 * The older tool makes and writes its lock file in about 50 µs; a start that has won the lock takes longer than this
 * before it checks.
 */
const MADE_IN_MS = 1;

/**
 * Starts one process of each kind, `delayMs` apart. Requires that exactly one of them has a server, that the files name
 * its owner, and that there were never two servers.
 * @returns which one has the server; 'suspended' when the older tool did not run between making its lock file and
 * writing to it (docs/limits.md)
 */
export async function raceOnce(
  world: OlderWorld,
  isOlderFirst: boolean,
  delayMs: number,
): Promise<'older' | 'ours' | 'suspended'> {
  const { manager, server, folder } = world;
  const program = await world.owner();
  let older: OlderOutcome | undefined;
  let isSpawned = false;
  const noteSpawn = () => {
    isSpawned = true;
  };
  manager.once('spawned', noteSpawn);
  try {
    const startOlder = async () => {
      program.send('go');
      older = await program.message<OlderOutcome>();
    };
    const startOurs = () => manager.start().catch((error: unknown) => error);
    const first = isOlderFirst ? startOlder() : startOurs();
    await delay(delayMs);
    const second = isOlderFirst ? startOurs() : startOlder();
    const ours = await (isOlderFirst ? second : first);
    await Promise.all([first, second]);
    const outcome = older as OlderOutcome | undefined;
    const named = (file: string) => Number.parseInt(readFileSync(join(folder, file), 'utf8'), 10);
    if (outcome !== undefined && 'server' in outcome) {
      // Of two servers the second one ends by itself, because the port is in use: our start sees its end, or the first
      // one on the port.
      const isLater = ours instanceof EarlyExitError || ours instanceof PortInUseError;
      const isTwo = isSpawned && (isLater || !(ours instanceof Error));
      if (isTwo && outcome.madeInMs > MADE_IN_MS) {
        await manager.stop();
        server.forget();
        return 'suspended';
      }
      assert.ok(ours instanceof FlockProcessError, `both have started it: ${JSON.stringify(ours)}`);
      await eventually('the server of the older tool has started', () => server.pids().includes(outcome.server));
      assert.deepEqual(server.alive(), [outcome.server]);
      assert.deepEqual([named('temporal.lock'), named('temporal.pid')], [program.pid, outcome.server]);
      const { state, pid } = await manager.status();
      assert.deepEqual([state, pid], ['unknown', program.pid]);
      assert.equal((await manager.stop()).outcome, 'not-running');
      assert.equal(isRunningProcess(outcome.server), true);
    } else {
      assert.ok(!(ours instanceof Error), String(ours));
      const { pid } = ours as { pid: number };
      assert.deepEqual(server.alive(), [pid]);
      assert.deepEqual([named('temporal.lock'), named('temporal.pid')], [pid, pid]);
    }
    // The older tool deletes a stale file in two steps. When it does so during our start, that start fails
    // (docs/limits.md).
    if (ours instanceof LockUnavailableError && /deleted or replaced/.test(ours.message)) server.forget();
    server.assertNeverTwo();
    return outcome !== undefined && 'server' in outcome ? 'older' : 'ours';
  } finally {
    manager.off('spawned', noteSpawn);
    program.kill();
    if (older !== undefined && 'server' in older) killUnlessGone(older.server);
    await program.exited;
    await eventually('the server of the older tool has ended', () =>
      server.alive().every((pid) => !isServerOf(older, pid)),
    );
    if (existsSync(folder)) await manager.stop();
  }
}

function isServerOf(outcome: OlderOutcome | undefined, pid: number): boolean {
  return outcome !== undefined && 'server' in outcome && outcome.server === pid;
}
