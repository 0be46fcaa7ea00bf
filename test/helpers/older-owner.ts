/** Stigmer's command-line tool as it was (fixtures/older-owner.ts), beside the Temporal preset on whose folder it works. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  FlockProcessError,
  LockUnavailableError,
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

/** What the preset asks in the `.stigmer` of this home folder, which is nobody's else. */
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
  /** Up, and waiting to be told to start the very same server. */
  owner(): Promise<Program>;
}

/** The server is called "temporal", and notices another one on its database. It listens 150 ms after it has begun. */
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

/** What another run has left in the folder: nothing, or files that name the dead. */
export function leaveStale({ folder }: OlderWorld, deadPid: number, ...names: readonly string[]): void {
  mkdirSync(folder, { recursive: true });
  for (const name of names) writeFileSync(join(folder, name), `${deadPid}\n`);
}

/** Two calls of the system take some 50 µs, and a start that has won takes longer than this until it asks. */
const MADE_IN_MS = 1;

/**
 * One start of each, `delayMs` apart: exactly one of them has a server, the files name whoever has it, and there were never two.
 * @returns who it was; 'suspended' when the older one did not run between making its lock file and writing into it (docs/limits.md)
 */
export async function raceOnce(
  world: OlderWorld,
  isOlderFirst: boolean,
  delayMs: number,
): Promise<'older' | 'ours' | 'suspended'> {
  const { manager, server, folder } = world;
  const program = await world.owner();
  let older: OlderOutcome | undefined;
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
      if (!(ours instanceof Error) && outcome.madeInMs > MADE_IN_MS) {
        await manager.stop();
        server.forget();
        return 'suspended';
      }
      assert.ok(ours instanceof FlockProcessError, `both have started it: ${JSON.stringify(ours)}`);
      await eventually('its server', () => server.pids().includes(outcome.server));
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
    // The older one deletes what names nobody in two steps: one that did so in the middle of our start has ended that (docs/limits.md).
    if (ours instanceof LockUnavailableError && /deleted or replaced/.test(ours.message)) server.forget();
    server.assertNeverTwo();
    return outcome !== undefined && 'server' in outcome ? 'older' : 'ours';
  } finally {
    program.kill();
    if (older !== undefined && 'server' in older) killUnlessGone(older.server);
    await program.exited;
    await eventually('the end of its server', () => server.alive().every((pid) => !isServerOf(older, pid)));
    if (existsSync(folder)) await manager.stop();
  }
}

function isServerOf(outcome: OlderOutcome | undefined, pid: number): boolean {
  return outcome !== undefined && 'server' in outcome && outcome.server === pid;
}
