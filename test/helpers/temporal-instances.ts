/**
 * A real Temporal for one test: with a fresh folder and a free port, and killed after the test whichever process
 * started it.
 */
import type { SpawnOptions } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Client, Connection } from '@temporalio/client';
import {
  EarlyExitError,
  type Instance,
  ProcessManager,
  type TemporalDevServerOptions,
  temporalDevServer,
} from '../../src/index.js';
import type { Outcome } from '../fixtures/temporal-call.js';
import { startFixture } from './programs.js';
import { freePort, temporaryFolder } from './resources.js';
import { temporalBinary } from './temporal.js';
import { MUST_HAPPEN_MS } from './waiting.js';

/** Temporal prints one of these when another process has taken a port before Temporal could bind it. */
export const LOST_PORT = /address already in use|assigning ephemeral port/;

type Options = TemporalDevServerOptions & { port: number; stateDir: string };

/** In memory and headless, unless `changes` say otherwise. Starts nothing. */
export async function temporalOptions(
  test: Pick<TestContext, 'after'>,
  changes: TemporalDevServerOptions = {},
): Promise<Options> {
  const port = await freePort();
  let options: Options | undefined;
  // Registered before the folder's removal: `after` hooks run in the order of their registration.
  test.after(async () => {
    if (options !== undefined) await new ProcessManager({ ...temporalDevServer(options), stopTimeoutMs: 0 }).stop();
  });
  const stateDir = join(temporaryFolder(test), 'state');
  options = { command: temporalBinary(), stateDir, port, uiPort: false, dbFilename: ':memory:', ...changes };
  return options;
}

/** The call is made again when Temporal has lost one of the ports that it chooses itself, but not the one that it was given. */
export async function startDespiteLostPorts(
  manager: ProcessManager,
  method: 'start' | 'restart' = 'start',
): Promise<Instance> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await manager[method]();
    } catch (error) {
      if (!(error instanceof EarlyExitError) || attempt === 3) throw error;
      const text = [error.message, ...error.logTail].join('\n');
      if (!LOST_PORT.test(text) || text.includes(`:${manager.spec.port}:`)) throw error;
    }
  }
}

/** The outcome of one call in a process of its own, which has ended when this resolves. */
export async function callElsewhere(
  test: Pick<TestContext, 'after'>,
  method: 'start' | 'stop',
  options: TemporalDevServerOptions,
  spawnOptions: SpawnOptions = {},
): Promise<Outcome> {
  const program = startFixture(test, 'temporal-call', [method, JSON.stringify(options)], spawnOptions);
  // A stop alone takes Temporal 1.5 s.
  const outcome = await program.message<Outcome>({ withinMs: 4 * MUST_HAPPEN_MS });
  await program.ended();
  return outcome;
}

/** A client of that namespace. A workflow can be started and described without a worker. */
export async function connect(
  test: Pick<TestContext, 'after'>,
  { address }: { address: string | undefined },
  namespace = 'default',
): Promise<Client> {
  const connection = await Connection.connect({ address: address ?? '', connectTimeout: '15s' });
  test.after(() => connection.close());
  return new Client({ connection, namespace });
}
