/**
 * Hits a process at a random instant of a call, while others call too: kills it, or suspends it and then continues or
 * kills it.
 */
import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager } from '../../src/index.js';
import { WATCHER_NAME } from '../../src/inspect/watcher.js';
import type { Order, Said } from '../fixtures/victim.js';
import { signalUnlessGone } from '../helpers/evidence.js';
import type { Random } from '../helpers/random.js';
import { processesNaming } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { type Witness, witnessedServer } from '../helpers/witness.js';
import { Clock, carryOn, within } from './aftermath.js';
import type { Attack, Round } from './attack.js';
import { Victims } from './victims.js';

export type Method = Order['method'];
type Other = 'none' | 'start' | 'stop' | 'restart' | 'status';
export type Blow = 'kill' | 'suspend';

/** Somewhat longer than each call takes, so that most random instants are inside the call and some after it. */
const CALL_MS: Readonly<Record<Method, number>> = { start: 90, stop: 50, restart: 120, supervise: 200 };

/** The state before the call, with weights. */
const BEFORE_START = { never: 4, running: 1, stopped: 2, crashed: 2 };
const STATES: Readonly<Record<Method, typeof BEFORE_START>> = {
  start: BEFORE_START,
  supervise: BEFORE_START,
  stop: { never: 0, running: 5, stopped: 0, crashed: 1 },
  restart: { never: 1, running: 5, stopped: 1, crashed: 1 },
};

const SUSPENDED_MS = 150;

/** A time within which the server ends by itself even on a busy machine, so that a stop never has to use force. */
const UNHURRIED = { stopTimeoutMs: 5_000 };

/** No call of these rows may take longer by the contract. */
const LIMIT_MS = 20_000;

/**
 * The outcomes that a caller must expect when it is suspended while others call. A start that meets a stop may also
 * give STOPPED.
 */
const EXPECTED: Readonly<Record<Method | 'status', readonly string[]>> = {
  start: ['spawned', 'reused'],
  restart: ['spawned', 'reused'],
  stop: ['stopped', 'killed', 'not-running'],
  status: ['stopped', 'starting', 'running', 'stopping', 'unhealthy', 'unknown'],
  supervise: ['ended'],
};

/** Only a stop() makes a concurrent start fail; a restart() does not. */
const STOPPED = 'ERR_STOPPED';

/** Hits the process that makes the call. */
export async function hitCallers(attack: Attack, { method, blow }: { method: Method; blow: Blow }): Promise<void> {
  const { random } = attack;
  const victims = new Victims(attack);
  const clock = new Clock();
  let inside = 0;
  await attack.rounds(async (round) => {
    const victim = victims.next();
    // The supervisor must be gone before the server is stopped, even if the attempt fails: it would start the server
    // again.
    round.after(() => victim.kill());
    const server = await aServer(round, random);
    const manager = new ProcessManager(server.spec);
    const killed = await prepare(method, manager, random);
    await victim.call(method, server.spec);
    const end = performance.now() + random.between(0, CALL_MS[method]);
    if (method === 'supervise') killed.push(...(await crashUntil(end, server, random)));
    await delay(end - performance.now());
    const other = blow === 'kill' ? 'none' : random.weighted({ none: 1, start: 2, stop: 2, restart: 1, status: 1 });
    if (blow === 'kill') await victim.kill();
    else await suspendCaller(victim, { method, other, manager, random });
    const said = await within(LIMIT_MS, `${method}()`, victim.outcome);
    await victim.kill();
    if (said === undefined) inside += 1;
    else assertExpected(said, method, other);
    await carryOn(server, { random, clock, by: manager, killed });
  });
  attack.remark(`ended inside its call: ${inside}`);
  clock.remark(attack);
}

/** Hits the server, or the watcher of a tied server, while this process makes the call. */
export async function hitServed(
  attack: Attack,
  { whom, blow }: { whom: 'server' | 'watcher'; blow: Blow },
): Promise<void> {
  const { random } = attack;
  const clock = new Clock();
  let hits = 0;
  await attack.rounds(async (round) => {
    const method = random.weighted({ start: 2, stop: 2, restart: 1 });
    // A stop must end a suspended server too, without force.
    const isLeftSo = blow === 'suspend' && whom === 'server' && method === 'stop' && random.next() < 0.7;
    const changes = { ...(whom === 'watcher' && { lifetime: 'tied' as const }), ...(isLeftSo && UNHURRIED) };
    const server = await aServer(round, random, changes);
    const manager = new ProcessManager(server.spec);
    const killed = await prepare(method, manager, random);
    if (isLeftSo) for (const pid of server.alive()) hits += Number(signalUnlessGone(pid, 'SIGSTOP'));
    let isOver = false;
    const outcome = call(method, manager).finally(() => {
      isOver = true;
    });
    await delay(random.between(0, CALL_MS[method]));
    const find = () => (whom === 'server' ? server.alive() : watchers(server))[0];
    const pid = await eventually('a process to signal exists, or the call is over', () => find() ?? (isOver ? -1 : 0), {
      everyMs: 1,
    });
    const done = pid > 0 && !isLeftSo ? await hit(pid, blow, random) : 'missed';
    if (done !== 'missed') hits += 1;
    if (done === 'killed') killed.push(pid);
    const expected = isLeftSo ? ['stopped', 'not-running'] : [...EXPECTED[method], 'ERR_EARLY_EXIT'];
    const { word, error } = await within(LIMIT_MS, `${method}()`, outcome);
    assert.ok(expected.includes(word), `${method}: ${error ?? word}`);
    await carryOn(server, { random, clock, by: manager, killed });
  });
  attack.remark(`hit: ${hits}`);
  clock.remark(attack);
}

function aServer(round: Round, random: Random, changes: Parameters<typeof witnessedServer>[2] = {}): Promise<Witness> {
  const behaviour = random.weighted({ quick: 3, slow: 1, lingering: 1 });
  const times = { quick: {}, slow: { listenAfterMs: 30 }, lingering: { dieAfterMs: 40 } }[behaviour];
  return witnessedServer(round, times, { startTimeoutMs: 5_000, stopTimeoutMs: 1_000, ...changes });
}

/** @returns the PIDs of the servers that it killed */
async function prepare(method: Method, manager: ProcessManager, random: Random): Promise<number[]> {
  const state = random.weighted(STATES[method]);
  if (state === 'never') return [];
  const { pid } = await manager.start();
  if (state === 'crashed') process.kill(pid, 'SIGKILL');
  if (state === 'stopped') await manager.stop();
  return state === 'crashed' ? [pid] : [];
}

/** @returns the PIDs of the servers that it killed */
async function crashUntil(end: number, server: Witness, random: Random): Promise<number[]> {
  const killed: number[] = [];
  for (;;) {
    const pause = random.between(10, 120);
    if (performance.now() + pause > end) return killed;
    await delay(pause);
    const alive = server.alive();
    for (const pid of alive) signalUnlessGone(pid, 'SIGKILL');
    killed.push(...alive);
  }
}

async function suspendCaller(
  victim: ReturnType<Victims['next']>,
  { method, other, manager, random }: { method: Method; other: Other; manager: ProcessManager; random: Random },
): Promise<void> {
  victim.program.kill('SIGSTOP');
  const answer = other === 'none' ? undefined : call(other, manager);
  await delay(random.between(0, SUSPENDED_MS));
  if (random.next() < 0.5) {
    await victim.kill();
  } else {
    victim.program.kill('SIGCONT');
    if (method === 'supervise') victim.letGo();
  }
  const said = answer && (await within(LIMIT_MS, `${other}()`, answer));
  if (said !== undefined && other !== 'none') assertExpected(said, other, method);
}

function assertExpected({ word, error }: Said, method: Method | 'status', meanwhile: Method | Other): void {
  const isStarting = method === 'start' || method === 'restart';
  const expected = isStarting && meanwhile === 'stop' ? [...EXPECTED[method], STOPPED] : EXPECTED[method];
  assert.ok(expected.includes(word), `${method}() during ${meanwhile}: ${error ?? word}`);
}

/** @returns 'missed' when the process was already gone */
async function hit(pid: number, blow: Blow, random: Random): Promise<'missed' | 'continued' | 'killed'> {
  if (blow === 'kill') return signalUnlessGone(pid, 'SIGKILL') ? 'killed' : 'missed';
  if (!signalUnlessGone(pid, 'SIGSTOP')) return 'missed';
  await delay(random.between(0, SUSPENDED_MS));
  const isKilled = random.next() >= 0.5;
  // The process may have ended meanwhile. Its PID cannot be in use again so soon, because the kernel hands out PIDs in
  // turn.
  signalUnlessGone(pid, isKilled ? 'SIGKILL' : 'SIGCONT');
  return isKilled ? 'killed' : 'continued';
}

/** PIDs of the shells with the watcher's text: the watchers, and servers whose shell has not become the server yet. */
function watchers({ spec }: Witness): number[] {
  const all = processesNaming(WATCHER_NAME);
  const ours = new Set(processesNaming(dirname(spec.stateDir)));
  return all.filter((pid) => ours.has(pid));
}

async function call(method: Exclude<Method, 'supervise'> | 'status', manager: ProcessManager): Promise<Said> {
  try {
    if (method === 'status') return { word: (await manager.status()).state };
    if (method === 'stop') return { word: (await manager.stop()).outcome };
    return { word: (await manager[method]()).reused ? 'reused' : 'spawned' };
  } catch (thrown) {
    const error = thrown as Error & { code?: string };
    return { word: error.code ?? error.name, error: String(error.stack) };
  }
}
