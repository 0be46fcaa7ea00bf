/** One attempt against a managed server while its surroundings fail: what every call must keep to, whatever fails. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as library from '../../../src/index.js';
import { killUnlessGone } from '../../helpers/evidence.js';
import { outcomeOf } from '../../helpers/gate.js';
import { isRunning, processesIn } from '../../helpers/outside-view.js';
import { startProgram } from '../../helpers/programs.js';
import type { RemoteManager } from '../../helpers/remote-manager.js';
import { eventually } from '../../helpers/waiting.js';
import { type Witness, witnessedServer } from '../../helpers/witness.js';
import type { Attack, Round } from '../attack.js';

const { ProcessManager } = library;

export type Method = 'start' | 'stop' | 'restart' | 'status' | 'supervise';

/** Makes the calls, in this process or in another one. */
export type Caller = (method: Method) => Promise<unknown>;

export interface Surroundings {
  server: Witness;
  /** Makes the calls during the fault. Default: this process. */
  call?: Caller;
  /** Makes the calls before the fault. Default: this process. */
  prepare?: Caller;
  /** Causes the fault. It gets the PID of a process that has nothing to do with the managed one. */
  strike(stranger: number): unknown;
  lift(): unknown;
  /** The only errors that the fault may cause. Default: any error of the contract. */
  errors?: Partial<Record<Method, readonly string[]>>;
  methods?: Partial<Record<Method, number>>;
}

/** No call may take longer: a stop may take 2 × stopTimeoutMs + 5 s, and the machine may be busy. */
const LIMIT_MS = 20_000;

/** Time limits in the spec of the server. */
const LIMITS = { stopTimeoutMs: 1_000 };

/** A Python that every user can run: the first one on PATH may be in root's home folder. */
export const PYTHON_FOR_ALL = '/usr/bin/python3';

/** The files that may be in the state folder after a stop. */
const FILES = /^(logs|witness\.(lock|journal|users))$/;

const ERROR_NAMES = Object.entries(library)
  .filter(([, value]) => typeof value === 'function' && value.prototype instanceof library.FlockProcessError)
  .map(([name]) => name);

/** A server that is ended if the attempt failed, after which `beforeRemoval` runs and the folder is removed. */
export async function faultyServer(
  round: Round,
  { beforeRemoval = () => {}, ...changes }: { beforeRemoval?: () => unknown; command?: string } = {},
): Promise<Witness> {
  // The server's own teardown would ask the library, which may not find a server that an attempt left behind.
  const server = await witnessedServer({ after: () => undefined }, {}, { ...LIMITS, ...changes });
  round.after(async () => {
    await endServers(server);
    await beforeRemoval();
    rmSync(dirname(server.spec.stateDir), { recursive: true, force: true, maxRetries: 5 });
  });
  return server;
}

/** Makes calls before the fault, during it and after it is lifted. @throws for each wrong outcome */
export async function attemptWithFault(attack: Attack, round: Round, surroundings: Surroundings): Promise<void> {
  const { server, strike, lift, errors = {}, methods = DEFAULT_METHODS } = surroundings;
  const { random } = attack;
  const { call = callerHere(server.spec), prepare = callerHere(server.spec) } = surroundings;
  const stranger = startProgram(round, 'sleep', ['300'], { detached: true });
  const story: string[] = [];
  try {
    const before = random.weighted({ untouched: 1, running: 3, stopped: 1 });
    story.push(before);
    if (before !== 'untouched') await prepare('start');
    if (before === 'stopped') await prepare('stop');
    await strike(stranger.pid);
    for (let left = Math.floor(random.between(1, 4)); left > 0; left -= 1) {
      const method = random.weighted(methods as Record<Method, number>);
      story.push(await judgedCall(server, call, method, errors[method]));
    }
    await lift();
    await requireMended(server, stranger.pid);
    if (!isRunning(stranger.pid)) throw new Error('a stranger was ended');
  } catch (error) {
    await lift();
    throw new Error(`${story.join('; ')}: ${error}`, { cause: error });
  }
  attack.tally(story);
}

/** How often each method is called, as weights. */
const DEFAULT_METHODS: Record<Method, number> = { start: 4, stop: 2, restart: 2, status: 2, supervise: 1 };

export const ALL_BUT_SUPERVISE: Partial<Record<Method, number>> = { start: 4, stop: 2, restart: 2, status: 2 };

export const NO_ERRORS: Record<Method, readonly string[]> = {
  start: [],
  stop: [],
  restart: [],
  status: [],
  supervise: [],
};

async function judgedCall(
  server: Witness,
  call: Caller,
  method: Method,
  errors: readonly string[] = ERROR_NAMES,
): Promise<string> {
  const aliveBefore = server.alive();
  const began = performance.now();
  const outcome = await Promise.race([outcomeOf(call(method)), delay(LIMIT_MS, 'no end', { ref: false })]);
  const ms = performance.now() - began;
  const alive = server.alive();
  const word = outcome instanceof Error ? outcome.name : describe(outcome);
  const wrong = ms > LIMIT_MS ? `after ${ms} ms` : whatIsWrong(method, outcome, { aliveBefore, alive, errors });
  if (wrong !== undefined) throw new Error(`${method} → ${word}: ${wrong}`, { cause: outcome });
  server.assertNeverTwo();
  return `${method} → ${word}`;
}

interface Seen {
  aliveBefore: readonly number[];
  alive: readonly number[];
  errors: readonly string[];
}

function whatIsWrong(method: Method, outcome: unknown, { aliveBefore, alive, errors }: Seen): string | undefined {
  const { pid, state } = outcome as { pid?: number; state?: string };
  const seen = `alive are [${alive}], before [${aliveBefore}]`;
  if (outcome instanceof Error) {
    if (!errors.includes(outcome.name)) return 'no error that this may give';
    if (method === 'start' && !alive.every((one) => aliveBefore.includes(one))) return `it left something; ${seen}`;
    if (method === 'stop' && outcome.name === 'StateFileError' && alive.length > 0) return `not stopped; ${seen}`;
  } else if (method === 'start' || method === 'restart') {
    if (!isDeepStrictEqual(alive, [pid])) return seen;
  } else if (method === 'stop') {
    if (alive.length > 0) return seen;
  } else if (method === 'status') {
    if (state === 'running' && !isDeepStrictEqual(alive, [pid])) return seen;
    if (state === 'stopped' && alive.length > 0) return seen;
    if (errors.length === 0 && state !== (alive.length > 0 ? 'running' : 'stopped')) return `${state}; ${seen}`;
  }
  return alive.length > 1 ? seen : undefined;
}

function describe(outcome: unknown): string {
  const { state, outcome: word, reused } = outcome as { state?: string; outcome?: string; reused?: boolean };
  return state ?? word ?? (reused === undefined ? String(outcome) : reused ? 'reused' : 'spawned');
}

/**
 * Law 6: after the fault the next calls work, and nothing is left when they are done.
 * @param stranger its PID file must be left alone, if a PID file names it
 */
export async function requireMended(server: Witness, stranger?: number): Promise<void> {
  const manager = new ProcessManager(server.spec);
  const { pid } = await manager.start();
  const { state } = await manager.status();
  if (state !== 'running' || !isDeepStrictEqual(server.alive(), [pid])) {
    throw new Error(`after it was mended: ${state}, PID ${pid}, alive are [${server.alive()}]`);
  }
  await manager.stop();
  server.assertNeverTwo();
  await server.assertNothingThere();
  const { stateDir } = server.spec;
  const isStrangers = (name: string) =>
    name === 'witness.pid' && readFileSync(join(stateDir, name), 'utf8').startsWith(`${stranger}\n`);
  const names = readdirSync(stateDir).filter((name) => !FILES.test(name) && !isStrangers(name));
  if (names.length > 0) throw new Error(`left in the folder: ${names}`);
  const left = processesIn(stateDir).filter((one) => one !== process.pid);
  if (left.length > 0) throw new Error(`left with the folder open: ${left}`);
}

/** Makes the calls in this process. A supervisor is ended after a moment. */
function callerHere(spec: library.ProcessSpec): Caller {
  const manager = new ProcessManager(spec);
  return async (method) => {
    if (method !== 'supervise') return await manager[method]();
    const options = { checkIntervalMs: 50, backoff: { initialMs: 10 }, giveUpAfter: { restarts: 1 } };
    const supervisor = manager.supervise(options);
    const ended = outcomeOf(supervisor.done);
    await Promise.race([ended, delay(300)]);
    await supervisor.stop();
    const reason = await ended;
    if (reason instanceof Error) throw reason;
    return { state: `supervised, ${supervisor.restarts} restarts` };
  };
}

/** Makes the calls in another process, which has no supervisor. */
export function callerOf(remote: RemoteManager): Caller {
  return async (method) => {
    if (method === 'supervise') throw new TypeError('not from another process');
    return await remote[method]();
  };
}

/** Ends the servers that a failed attempt left behind. It uses their PIDs, because no manager may find them. */
export async function endServers(server: Witness): Promise<void> {
  const killed = server.alive();
  for (const pid of killed) killUnlessGone(pid);
  // A killed process loses its command line before its port and its lock are free.
  await eventually('all servers have ended', () => server.alive().length === 0 && !killed.some(isRunning));
}

export function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
