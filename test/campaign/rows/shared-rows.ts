/**
 * Attacks on shared processes: their users join, leave or are killed at each possible moment, and the server crashes.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isLocked, startShared } from '../../../src/index.js';
import { isRunning } from '../../helpers/outside-view.js';
import { redisPid } from '../../helpers/redis.js';
import {
  lockFileOf,
  nothingIsLeft,
  ownKey,
  redisPreset,
  type SharedUser,
  sharedFolder,
  startUser,
  startUsers,
} from '../../helpers/shared.js';
import { argumentsOf } from '../../helpers/tied.js';
import { eventually } from '../../helpers/waiting.js';
import type { Attack, Row } from '../attack.js';
import { crowdRow } from './crowd-row.js';

const CRASHES = 60;
const HAND_OVERS = 200;
const KILLED_RUNS = 60;
const LINGERS = 60;

const LINGER_MS = 400;

/** The time that a stop and a busy machine may take in addition. */
const BESIDES_MS = 5_000;

export const sharedRows: readonly Row[] = [
  crowdRow,
  {
    name: 'after a shared server crashes, the next calls of all its users return the same new server',
    laws: [7, 1],
    attempts: CRASHES,
    least: 2,
    attack: crashUnderUsers,
  },
  {
    name: 'a user that joins at the instant at which the last user leaves or is killed gets a working server',
    laws: [7],
    attempts: HAND_OVERS,
    least: 4,
    attack: handOver,
  },
  {
    name: 'nothing is left of a shared server after all its users are killed, whether they were joining or had joined',
    laws: [7, 6],
    attempts: KILLED_RUNS,
    least: 2,
    attack: killRuns,
  },
  {
    name: 'a user that joins at any instant of the linger time gets a working server, and after all users are killed nothing outlives that time',
    laws: [7, 6],
    attempts: LINGERS,
    least: 4,
    attack: comeWhileLingering,
  },
];

async function crashUnderUsers(attack: Attack): Promise<void> {
  const { random } = attack;
  let key = ownKey();
  let users = await startUsers(attack, 3, { key });
  let isSound = true;
  await attack.rounds(async () => {
    if (!isSound) {
      // Users that a failed attempt left behind must not disturb the next attempt.
      for (const user of users) user.kill();
      key = ownKey();
      users = await startUsers(attack, 3, { key });
    }
    isSound = false;
    const before = await Promise.all(users.map((user) => user.join()));
    const [{ pid: old, port, stateDir }] = before as [(typeof before)[number]];
    // Some users call again during the crash, and may be given the old server or the new one.
    const callers = users.filter(() => random.next() < 0.4);
    const calls = callers.map((user) => delay(random.between(0, 8)).then(() => user.join()));
    await delay(random.between(0, 8));
    process.kill(old, 'SIGKILL');
    await Promise.all(calls).catch((cause) => blame(old, cause));
    await eventually(`PID ${old} has ended`, () => !isRunning(old), { everyMs: 1 });
    const after = await Promise.all(users.map((user) => user.join())).catch((cause) => blame(old, cause));
    const [{ pid }] = after as [(typeof after)[number]];
    assert.notEqual(pid, old);
    assert.deepEqual(
      after.map((joined) => [joined.pid, joined.port]),
      users.map(() => [pid, port]),
    );
    assert.equal(await redisPid(port), pid);
    // Each user leaves as often as it joined, and remains a user until the last time.
    await Promise.all([...users, ...callers].map((user) => user.leave()));
    assert.equal(await redisPid(port), pid, 'it died under its users');
    await Promise.all(users.map((user) => user.leave()));
    assert.equal(isLocked(lockFileOf(key)), false, 'the lock');
    assert.equal(existsSync(stateDir), false, 'the folder');
    await nothingIsLeft(
      key,
      users.map(({ program }) => program.pid),
    );
    isSound = true;
  });
}

/** A stranger may have taken the port meanwhile: then the error names it. */
function blame(crashed: number, cause: Error & { pid?: number }): never {
  const { pid } = cause;
  const who = pid === undefined ? '' : `; PID ${pid} is ${argumentsOf(pid).join(' ')}`;
  throw new Error(`a call after PID ${crashed} crashed${who}`, { cause });
}

async function handOver(attack: Attack): Promise<void> {
  const key = ownKey();
  const { random } = attack;
  let next = startUser(attack, { key });
  let user = await next;
  await user.join();
  next = startUser(attack, { key });
  const outcomes = { anew: 0, found: 0 };
  await attack.rounds(async ({ index }) => {
    const newcomer = await next;
    const offset = random.between(-15, 15);
    const isKilled = random.next() < 0.4;
    const leaving = delay(Math.max(0, -offset)).then(() => (isKilled ? user.kill() : user.leave()));
    const joining = delay(Math.max(0, offset)).then(() => newcomer.join());
    const [{ pid, port, stateDir, reused }] = await Promise.all([joining, leaving]);
    next = isKilled ? startUser(attack, { key }) : Promise.resolve(user);
    user = newcomer;
    const what = `attempt ${index + 1}, ${isKilled ? 'killed' : 'left'} ${offset} ms before`;
    outcomes[reused ? 'found' : 'anew'] += 1;
    for (const check of ['at once', 'then']) {
      assert.equal(await redisPid(port), pid, `${what}, ${check}`);
      assert.equal(isLocked(lockFileOf(key)), true, what);
      assert.equal(existsSync(stateDir), true, what);
    }
  });
  await user.leave();
  for (const each of [user, await next]) each.kill();
  await nothingIsLeft(key);
  attack.remark(`${outcomes.found} newcomers found it, ${outcomes.anew} started it anew`);
}

async function killRuns(attack: Attack): Promise<void> {
  const key = ownKey();
  const { random } = attack;
  let next = startUsers(attack, 2, { key });
  const endsMs: number[] = [];
  await attack.rounds(async ({ index, after }) => {
    const users: SharedUser[] = await next;
    next = startUsers(attack, 2, { key });
    const joining = Promise.all(users.map((user) => user.join()));
    joining.catch(() => undefined);
    // In every second round the users have joined before they are killed.
    if (index % 2 === 0) await joining;
    await Promise.all(
      users.map(async (user) => {
        await delay(random.between(0, 120));
        user.kill();
        await user.program.exited;
      }),
    );
    endsMs.push(await nothingIsLeft(key, await pidsOf(next)));
    // A server with options of its own starts: nothing of the killed users' server is taken over.
    const heir = await startShared(redisPreset, { key, args: ['--databases', String(index + 1)] });
    after(() => heir.leave());
    assert.equal(heir.reused, false);
    assert.equal(await redisPid(heir.port), heir.pid);
    await heir.leave();
    assert.equal(existsSync(join(sharedFolder(), `${key}.state`)), false, 'the folder');
  });
  for (const user of await next) user.kill();
  attack.remark(`the last process gone after ${Math.round(Math.max(...endsMs))} ms at most`);
}

async function comeWhileLingering(attack: Attack): Promise<void> {
  const { random } = attack;
  const outcomes = { found: 0, anew: 0 };
  const keptMs: number[] = [];
  await attack.rounds(async ({ index, after }) => {
    const key = ownKey();
    const users = await startUsers(attack, 3, { key, lingerMs: LINGER_MS });
    const [user, newcomer, last] = users;
    const killAll = () => {
      for (const each of users) each.kill();
    };
    after(killAll);
    const before = await user.join();
    const leftAt = performance.now();
    // Most newcomers come near the end of the linger, where the watcher asks for the lock once more.
    const [least, most] = random.next() < 0.3 ? [0, LINGER_MS] : [LINGER_MS - 50, LINGER_MS + 350];
    const offset = random.between(least, most);
    if (random.next() < 0.5) user.kill();
    else await user.leave();
    await delay(Math.max(0, leftAt + offset - performance.now()));
    const joined = await newcomer.join();
    const what = `attempt ${index + 1}, ${offset} ms after the last user`;
    if (performance.now() - leftAt < LINGER_MS) assert.equal(joined.pid, before.pid, what);
    assert.equal(joined.reused, joined.pid === before.pid, what);
    outcomes[joined.reused ? 'found' : 'anew'] += 1;
    // A watcher that had begun to end the server would be done with it before the second check.
    for (const waitMs of [LINGER_MS, 0]) {
      assert.equal(await redisPid(joined.port), joined.pid, what);
      assert.equal(existsSync(joined.stateDir), true, what);
      await delay(waitMs);
    }
    const joining = random.next() < 0.5 ? last?.join() : undefined;
    joining?.catch(() => undefined); // It is killed while it joins, or after it has joined.
    await delay(random.between(0, 100));
    const killedAt = performance.now();
    killAll();
    await nothingIsLeft(key);
    keptMs.push(performance.now() - killedAt);
    assert.ok((keptMs.at(-1) ?? 0) < LINGER_MS + BESIDES_MS, `${what}: ${keptMs.at(-1)} ms after the last was killed`);
  });
  attack.remark(`${outcomes.found} newcomers found it, ${outcomes.anew} started it anew`);
  attack.remark(`the last process gone ${Math.round(Math.max(...keptMs))} ms after the last user at most`);
}

async function pidsOf(users: Promise<readonly SharedUser[]>): Promise<number[]> {
  return (await users).map(({ program }) => program.pid);
}
