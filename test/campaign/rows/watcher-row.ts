/**
 * The watcher itself is killed, which by the documentation turns a tied or shared process into a detached one: start,
 * stop and status must still work, no process may be stuck, and no other process may be signalled.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec, startShared } from '../../../src/index.js';
import { WATCHER_NAME } from '../../../src/inspect/watcher.js';
import { killUnlessGone, startTicks } from '../../helpers/evidence.js';
import { isRunning, processesIn } from '../../helpers/outside-view.js';
import { startProgram } from '../../helpers/programs.js';
import { redisPid } from '../../helpers/redis.js';
import { type RemoteManager, startRemoteManager } from '../../helpers/remote-manager.js';
import { freePort } from '../../helpers/resources.js';
import { nothingIsLeft, ownKey, redisPreset } from '../../helpers/shared.js';
import { argumentsOf, processesNaming, watcherOf } from '../../helpers/tied.js';
import { eventually } from '../../helpers/waiting.js';
import { livingInGroup } from '../../helpers/witness.js';
import type { Attack, Round, Row } from '../attack.js';

/** The limit of each of the three calls, on a server that answers and ends within milliseconds. */
const AT_ONCE_MS = 8_000;

export const watcherRow: Row = {
  name: 'start(), stop() and status() still work for a tied or shared process whose watcher was killed',
  laws: [7, 4, 6],
  attempts: 60,
  least: 3,
  async attack(attack) {
    const bystander = startProgram(attack, 'sleep', ['3600']);
    const ticks = startTicks(bystander.pid);
    let next = Math.floor(attack.random.between(0, turns.length));
    await attack.rounds(async (round) => {
      const turn = turns[next % turns.length] as Turn;
      next += 1;
      await turn(attack, round);
      assert.equal(startTicks(bystander.pid), ticks, 'a bystander is gone');
    });
  },
};

type Turn = (attack: Attack, round: Round) => Promise<void>;

const turns: readonly Turn[] = [
  (attack, round) => killWatcher(attack, round, 'tied'),
  (attack, round) => killWatcher(attack, round, 'shared'),
  leaveShared,
];

async function killWatcher(attack: Attack, round: Round, lifetime: 'tied' | 'shared'): Promise<void> {
  const { random } = attack;
  const spec = await specOf(attack, round, lifetime);
  const owner = await startRemoteManager(round, spec);
  const isEarly = random.next() < 0.3;
  const pid = await (isEarly ? killDuringStart(owner, spec) : killWhenReady(owner, random.next() < 0.5));
  await owes('status() by the owner', owner.status());
  await delay(random.between(0, 30));
  const then = random.weighted({ stop: 1, restart: 1, 'server crashes': 1, 'owner is killed': 2 });
  if (then === 'restart') await answers(spec, (await owes('restart() by the owner', owner.restart())).pid);
  if (then === 'server crashes') {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await eventually(`PID ${pid} has ended`, () => pid === undefined || !isRunning(pid));
    await answers(spec, (await owes('start() by the owner', owner.start())).pid);
  }
  const other = new ProcessManager(spec);
  if (then === 'owner is killed') {
    owner.kill();
    await owner.program.exited;
    // With its watcher gone the process survives its owner, so a process that was ready must be found.
    const { state } = await owes(`status() by another manager (${then})`, other.status());
    assert.equal(state, pid === undefined ? 'stopped' : 'running');
    await answers(spec, (await owes('start() by another manager', other.start())).pid);
    assert.equal((await owes(`status() by another manager (${then})`, other.status())).state, 'running');
  }
  await owes(`stop() (${then})`, random.next() < 0.5 || then === 'owner is killed' ? other.stop() : owner.stop());
  assert.equal((await owes(`status() by another manager (${then})`, other.status())).state, 'stopped');
  await other.leave().catch(() => undefined); // leave() throws a TypeError for a tied process.
  owner.kill();
  await owner.program.exited;
  // The flock process of a killed watcher waits on until the last user is gone.
  const others = () => [...processesNaming(spec.stateDir), ...processesIn(spec.stateDir)];
  await eventually('no process is left', () => others().length === 0, { everyMs: 10 });
}

/**
 * @returns the server's PID; undefined when the start failed, as it may when its watcher was killed before it began to
 * watch
 */
async function killDuringStart(owner: RemoteManager, spec: ProcessSpec): Promise<number | undefined> {
  let isOver = false;
  const starting = owner.start().finally(() => {
    isOver = true;
  });
  starting.catch(() => undefined);
  const isHelper = (pid: number) => argumentsOf(pid).includes(WATCHER_NAME) && !leadsGroup(pid);
  const killHelpers = () => {
    const helpers = processesNaming(spec.stateDir).filter(isHelper);
    kill(helpers);
    return helpers.length > 0;
  };
  await eventually('a watcher is killed, or the start is over', () => killHelpers() || isOver, { everyMs: 1 });
  const pid = await owes(
    'the start whose watcher was killed',
    starting.then(
      (instance) => instance.pid,
      () => undefined,
    ),
  );
  // The watcher that was seen may have started its own helper between the search and the signal.
  killHelpers();
  return pid;
}

async function killWhenReady(owner: RemoteManager, all: boolean): Promise<number> {
  const { pid } = await owner.start();
  kill(all ? livingInGroup(pid).filter((member) => member !== pid) : [watcherOf(pid)]);
  return pid;
}

/** Two users share a server through startShared. The second one joins when the watcher is already dead. */
async function leaveShared(attack: Attack, { after }: Round): Promise<void> {
  const key = ownKey();
  const one = await startShared(redisPreset, { key });
  after(() => one.leave());
  const helpers = livingInGroup(one.pid).filter((pid) => pid !== one.pid);
  kill(attack.random.next() < 0.5 ? [watcherOf(one.pid)] : helpers);
  const other = await owes('startShared()', startShared(redisPreset, { key }));
  after(() => other.leave());
  assert.equal(other.pid, one.pid);
  await owes('leave()', one.leave());
  assert.equal(await redisPid(other.port), other.pid, 'it died under a user');
  await owes('leave()', other.leave());
  await nothingIsLeft(key, [process.pid]);
  assert.equal(existsSync(other.stateDir), false, 'the folder');
  const next = await owes('startShared()', startShared(redisPreset, { key }));
  assert.equal(await redisPid(next.port), next.pid);
  await owes('leave()', next.leave());
}

async function answers({ port }: ProcessSpec, pid: number): Promise<void> {
  assert.equal(await redisPid(port as number), pid);
}

/** The result of the call. @throws when it takes longer than it may */
async function owes<T>(what: string, call: Promise<T>): Promise<T> {
  const late = new AbortController();
  const tooLate = delay(AT_ONCE_MS, undefined, { signal: late.signal }).then(() => {
    throw new Error(`${what}: not within ${AT_ONCE_MS} ms`);
  });
  tooLate.catch(() => undefined);
  try {
    return await Promise.race([call, tooLate]);
  } finally {
    late.abort();
  }
}

function kill(pids: readonly number[]): void {
  for (const pid of pids) killUnlessGone(pid);
}

function leadsGroup(pid: number): boolean {
  return livingInGroup(pid).includes(pid);
}

async function specOf(attack: Attack, { index, after }: Round, lifetime: 'tied' | 'shared'): Promise<ProcessSpec> {
  const stateDir = join(attack.folder, String(index));
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', stateDir];
  // What a killed watcher of a shared server leaves behind ignores the stop signal, so a stop takes this whole time.
  const stopTimeoutMs = 1_000;
  const spec = { name: 'owned', command: 'redis-server', args, port, stateDir, lifetime, stopTimeoutMs };
  after(() => new ProcessManager(spec).stop());
  return spec;
}
