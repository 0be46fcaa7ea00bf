/** Attacks with PID files that name other processes: no stranger is signalled, and every call still works. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mock } from 'node:test';
import { ProcessManager } from '../../../src/index.js';
import { startBystanders, threadOf } from '../../helpers/bystanders.js';
import { isRunningProcess, startSecond, startTicks, watchSignals } from '../../helpers/evidence.js';
import { type Place, poisons } from '../../helpers/poisons.js';
import { startProgram } from '../../helpers/programs.js';
import type { Random } from '../../helpers/random.js';
import { redisPid } from '../../helpers/redis.js';
import { redisSpec } from '../../helpers/servers.js';
import { eventually } from '../../helpers/waiting.js';
import { witnessedServer } from '../../helpers/witness.js';
import { assertNothingLeft } from '../aftermath.js';
import type { Attack, Row } from '../attack.js';
import { recycledRows } from './recycled-rows.js';

const names = Object.keys(poisons);

/**
 * Longer than any call of these rows may take by the contract: a call that believes a wrong record might wait for ever.
 */
const CALL_LIMIT_MS = 20_000;

/** A server that gets the stop signal ends at once; a busy machine may schedule it later. */
const TIMES = { startTimeoutMs: 5_000, stopTimeoutMs: 5_000 };

type Method = 'status' | 'start' | 'stop' | 'restart';

export const identityRows: readonly Row[] = [
  {
    name: 'a PID file of any content or file type makes no call fail or signal a stranger, whether the process runs or not',
    laws: [4, 6],
    attempts: 2 * names.length,
    attack: poison,
  },
  ...recycledRows,
  {
    name: 'a PID file written in another boot is ignored, and hides no running server',
    laws: [1, 4, 6],
    attempts: 80,
    attack: bootAnew,
  },
];

async function poison(attack: Attack): Promise<void> {
  assert.ok(names.length >= 50, 'fifty poisons');
  const { random } = attack;
  const bystanders = await startBystanders(attack);
  const spec = await redisSpec(attack, TIMES);
  const manager = new ProcessManager(spec);
  let own = await ownOf((await manager.start()).pid);
  const first = Math.floor(random.between(0, names.length));
  await attack.rounds(async (round) => {
    // Each poison is met in both states after two passes through all of them.
    const isWanted = (round.index + Math.floor(round.index / names.length)) % 2 === 0;
    if (isWanted) own = await ownOf((await manager.start(limited())).pid);
    else await manager.stop(limited());
    const name = names[(first + round.index) % names.length] as string;
    await poisons[name]?.({ pidFile: manager.spec.pidFile, own, bystanders }, round);
    const signals = watchSignals({ mock });
    round.after(() => mock.restoreAll());
    const targets = isWanted ? [own.pid] : [];
    const method = random.weighted({ status: 1, start: 2, stop: 2, restart: 2 });
    const what = `${method}() with ${name}, ${isWanted ? 'running' : 'stopped'}`;
    const result = await manager[method](limited());
    if ('state' in result) {
      assert.deepEqual([result.state, result.pid], isWanted ? ['running', own.pid] : ['stopped', undefined], what);
    } else if ('outcome' in result) {
      assert.equal(result.outcome, isWanted ? 'stopped' : 'not-running', what);
    } else {
      assert.equal(await redisPid(spec.port), result.pid, what);
      assert.equal(result.reused, isWanted && method === 'start', what);
      assert.equal(isRunningProcess(own.pid), result.reused, what);
    }
    assert.deepEqual(signals.targets(), method === 'stop' || method === 'restart' ? targets : [], what);
    await bystanders.assertUnharmed();
  });
}

async function ownOf(pid: number): Promise<Place['own']> {
  return { pid, startTime: startSecond(pid), threadId: await threadOf(pid) };
}

async function bootAnew(attack: Attack): Promise<void> {
  const { random } = attack;
  const strangers = [{}, { detached: true }].map((options) => startProgram(attack, 'sleep', ['300'], options).pid);
  const ticks = strangers.map(startTicks);
  await attack.rounds(async (round) => {
    const server = await witnessedServer(round, {}, TIMES);
    const manager = new ProcessManager(server.spec);
    const { pid: own } = await manager.start();
    const isUp = random.next() < 0.5;
    if (!isUp) {
      process.kill(own, 'SIGKILL');
      await eventually('the server has ended', () => !isRunningProcess(own), { everyMs: 1 });
    }
    const recorded = isUp && random.next() < 0.5 ? own : (strangers[Math.floor(random.between(0, 2))] as number);
    writeFileSync(manager.spec.pidFile, `${recorded}\nwitness\n${anotherBoot(random, recorded)}\n`);
    const plan = random.weighted({ 'status start stop': 2, 'start stop': 2, 'stop start': 2, 'restart stop': 1 });
    let isThere = isUp;
    for (const method of plan.split(' ') as Method[]) {
      const result = await manager[method](limited());
      if ('state' in result)
        assert.deepEqual([result.state, result.pid], isUp ? ['running', own] : ['stopped', undefined]);
      else if ('outcome' in result) assert.equal(result.outcome, isThere ? 'stopped' : 'not-running');
      else assert.deepEqual([server.alive(), result.reused], [[result.pid], isThere && method === 'start']);
      if (method !== 'status') isThere = method !== 'stop';
    }
    await manager.stop(limited());
    await assertNothingLeft(server);
    assert.deepEqual(strangers.map(startTicks), ticks);
  });
}

function limited(): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(CALL_LIMIT_MS) };
}

/** A start time long before this boot, shortly before it, or the one that this PID would have had in another boot. */
function anotherBoot(random: Random, pid: number): number {
  const now = startSecond(pid);
  const boot = startSecond(1);
  const age = random.weighted({ epoch: 1, before: 2, later: 1, shifted: 2 });
  if (age === 'epoch') return Math.floor(random.between(0, 2));
  if (age === 'before') return Math.floor(boot - random.between(60, 10_000_000));
  return Math.floor(now + (age === 'later' ? 1 : -1) * random.between(60, 10_000_000));
}
