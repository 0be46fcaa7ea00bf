/** What must hold after any fault: the next calls work within their documented time, and a stop leaves nothing. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessManager } from '../../src/index.js';
import { isRunning, processesIn } from '../helpers/outside-view.js';
import type { Random } from '../helpers/random.js';
import { processesNaming } from '../helpers/tied.js';
import type { Witness } from '../helpers/witness.js';
import type { Attack } from './attack.js';

/** How much longer than twice its time a stop() may take by the contract, and what a busy machine is granted on top. */
const STOP_MARGIN_MS = 5_000;
const BUSY_MS = 3_000;

/** The share of attempts in which the PID file, which is only a cache, is deleted. */
const RECORD_LOST = 0.25;

/** Any other file in a state folder would have to be cleaned up by hand. */
const EXPECTED_FILES = /^witness\.(lock|pid|pid\.new|journal|journal\.new|journal\.\d+-\w+|users)$|^logs$/;

type Method = 'start' | 'stop' | 'restart' | 'status';

/** The longest time that each method took. */
export class Clock {
  readonly #longest = new Map<string, number>();

  async time<T>(method: string, limitMs: number, call: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await within(limitMs, `${method}()`, call());
    } finally {
      this.#longest.set(method, Math.max(performance.now() - began, this.#longest.get(method) ?? 0));
    }
  }

  remark(attack: Attack): void {
    const parts = [...this.#longest].map(([method, ms]) => `${method} ${ms.toFixed()} ms`);
    attack.remark(`longest: ${parts.join(', ')}`);
  }
}

/** The result of the promise. @throws when it does not settle within the limit */
export async function within<T>(limitMs: number, what: string, awaited: Promise<T>): Promise<T> {
  const over = new AbortController();
  const late = delay(limitMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`${what} is not over after ${limitMs} ms`);
  });
  try {
    return await Promise.race([awaited, late]);
  } finally {
    late.catch(() => undefined);
    over.abort();
  }
}

export interface Aftermath {
  random: Random;
  clock: Clock;
  by: ProcessManager;
  /** Servers that were sent SIGKILL. Until such a server is scheduled and dies, it is found like any other. */
  killed?: readonly number[];
}

/**
 * Makes the calls of a program that knows nothing of the fault, nor where the process is, because the PID file is
 * deleted at times. The last call is a stop.
 */
export async function carryOn(server: Witness, aftermath: Aftermath) {
  const { random, by } = aftermath;
  const plan = random.weighted({
    'start stop': 4,
    stop: 2,
    'status start status stop': 1,
    'restart stop': 2,
    'start start stop': 1,
    'stop start stop': 1,
  });
  if (random.next() < RECORD_LOST) rmSync(by.spec.pidFile, { force: true });
  for (const method of plan.split(' ') as Method[]) await make(method, server, aftermath);
  await assertNothingLeft(server);
}

async function make(method: Method, server: Witness, { clock, by, killed = [] }: Aftermath): Promise<void> {
  const { startTimeoutMs, stopTimeoutMs } = by.spec;
  const stopMs = 2 * (stopTimeoutMs ?? 0) + STOP_MARGIN_MS + BUSY_MS;
  const startMs = (startTimeoutMs ?? 0) + stopMs;
  const dying = killed.filter(isRunning);
  const assertAlone = (pid: number | undefined) => {
    if (!dying.includes(pid ?? 0)) assert.deepEqual(server.alive(), [pid], `after ${method}()`);
  };
  if (method === 'status') {
    const { state, pid } = await by.status();
    if (state === 'running') assertAlone(pid);
  } else if (method === 'stop') {
    await clock.time(method, stopMs, () => by.stop());
  } else {
    const { pid } = await clock.time(method, startMs, () => by[method]());
    assertAlone(pid);
  }
}

/**
 * Requires that server, lock, port and watcher are gone, that no killed process left a file, and that there were never
 * two servers.
 */
export async function assertNothingLeft(server: Witness): Promise<void> {
  const { stateDir } = server.spec;
  await server.assertNothingThere();
  assert.deepEqual(processesIn(stateDir), [], 'processes in the state folder');
  assert.deepEqual(processesNaming(dirname(stateDir)), [], 'processes that name its folder');
  const odd = existsSync(stateDir) ? readdirSync(stateDir).filter((name) => !EXPECTED_FILES.test(name)) : [];
  assert.deepEqual(odd, [], 'files in the state folder');
  server.assertNeverTwo();
}
