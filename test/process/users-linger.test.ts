/** A shared process is kept for `lingerMs` after its last user, for a user that comes later, and no longer. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { ProcessManager } from '../../src/index.js';
import { tryFlock } from '../../src/lock/flock.js';
import { isRunning } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { redisSpec } from '../helpers/servers.js';
import { groupEnds } from '../helpers/tied.js';
import { eventually, MUST_HAPPEN_MS } from '../helpers/waiting.js';
import { SHELLS, startWatchedByUsers } from '../helpers/watched.js';

/** A user who comes in the first part of this time is in time even on a busy machine. */
const LINGER_MS = 3_000;

/** No test waits for the end of this time. */
const ENDLESS_MS = 600_000;

async function startLingering(t: TestContext, lingerMs: number) {
  const manager = new ProcessManager(await redisSpec(t, { lifetime: 'shared', lingerMs }));
  const { pid } = await manager.start();
  return { manager, pid, usersFile: manager.spec.lockFile.replace(/lock$/, 'users') };
}

/** Joins as a user does: appends a line, and keeps the shared lock at this descriptor until it is closed. */
async function come(path: string): Promise<number> {
  const fd = openSync(path, 'r+');
  // The watcher has LOCK_EX for a moment whenever it begins to linger: a user asks again, too.
  await eventually('the newcomer is let in', () => tryFlock(fd, 'sh'), { withinMs: 750 });
  writeSync(fd, '\n', fstatSync(fd).size);
  return fd;
}

// They mostly wait, so they run together.
describe('a process without users', { concurrency: true }, () => {
  for (const shell of SHELLS) {
    for (const tool of ['flock', 'perl'] as const) {
      test(`${shell.join(' ')} with ${tool}: lingerMs counts anew from the end of each user that came meanwhile`, async (t) => {
        const lingerMs = 1_500;
        const { program, usersFile, leave } = await startWatchedByUsers(t, shell, { tool, lingerMs });
        leave();
        let leftAt = performance.now();
        for (const staysMs of [0, lingerMs * 1.3, 0]) {
          await delay(lingerMs / 4);
          const newcomer = await come(usersFile);
          await delay(staysMs);
          assert.equal(program.isAlive, true);
          leftAt = performance.now();
          closeSync(newcomer);
        }
        assert.equal((await program.ended()).signal, 'SIGTERM');
        const keptMs = performance.now() - leftAt;
        assert.ok(keptMs >= lingerMs, `${keptMs} ms`);
        await groupEnds(program.pid);
      });
    }
  }

  test('the process runs on without a user after the last one has left, and is gone after lingerMs', async (t) => {
    const { manager, pid } = await startLingering(t, LINGER_MS);
    const leftAt = performance.now();
    await manager.leave();
    const left = await manager.status();
    assert.deepEqual([left.state, left.pid, left.users], ['running', pid, 0]);
    await groupEnds(pid);
    const keptMs = performance.now() - leftAt;
    assert.ok(keptMs >= LINGER_MS, `${keptMs} ms`);
    assert.equal((await manager.status()).state, 'stopped');
    const again = await manager.start();
    assert.deepEqual([again.reused, isRunning(again.pid)], [false, true]);
  });

  test('a user that comes meanwhile joins the process, keeps it beyond lingerMs, and lets it linger again when it leaves', async (t) => {
    const { manager, pid } = await startLingering(t, LINGER_MS);
    await manager.leave();
    const newcomer = new ProcessManager(manager.spec);
    const found = await newcomer.start();
    assert.deepEqual([found.pid, found.reused], [pid, true]);
    await delay(LINGER_MS * 1.2);
    assert.equal((await newcomer.status()).state, 'running');
    const leftAt = performance.now();
    await newcomer.leave();
    await groupEnds(pid);
    const keptMs = performance.now() - leftAt;
    assert.ok(keptMs >= LINGER_MS, `${keptMs} ms`);
  });
});

test('after the last user was killed the process lingers once, although another user came while it lingered before', async (t) => {
  const { manager, pid } = await startLingering(t, LINGER_MS);
  const [one, other] = await Promise.all([startRemoteManager(t, manager.spec), startRemoteManager(t, manager.spec)]);
  await one.start();
  await manager.leave();
  one.kill();
  await one.program.exited;
  assert.equal((await other.start()).pid, pid);
  const once = await startLingering(t, LINGER_MS);
  const killedAt = performance.now();
  other.kill();
  await once.manager.leave();
  const [keptMs, onceMs] = (await Promise.all(
    [pid, once.pid].map(async (each) => {
      await groupEnds(each);
      return performance.now() - killedAt;
    }),
  )) as [number, number];
  t.diagnostic(`gone ${Math.round(keptMs)} ms after the last user was killed, and after ${Math.round(onceMs)} ms`);
  // A process that lingered a second time for the later user would take nearly twice as long.
  assert.ok(keptMs < onceMs + LINGER_MS * 0.7, `${keptMs} ms, the other one ${onceMs} ms`);
});

test('stop() ends a lingering process at once, and its watcher with it', async (t) => {
  const { manager, pid } = await startLingering(t, ENDLESS_MS);
  await manager.leave();
  const { outcome, tookMs } = await new ProcessManager(manager.spec).stop();
  assert.deepEqual([outcome, isRunning(pid)], ['stopped', false]);
  assert.ok(tookMs < MUST_HAPPEN_MS);
  await groupEnds(pid);
});

test('when a lingering process crashes its watcher ends, too, and the next start spawns a new process', async (t) => {
  const { manager, pid } = await startLingering(t, ENDLESS_MS);
  await manager.leave();
  process.kill(pid, 'SIGKILL');
  await groupEnds(pid);
  const again = await manager.start();
  assert.notEqual(again.pid, pid);
  await manager.stop();
});

test('a start that fails as the only user leaves a lingering process to its watcher', async (t) => {
  const { manager, pid } = await startLingering(t, ENDLESS_MS);
  await manager.leave();
  const sick = new ProcessManager({ ...manager.spec, isHealthy: () => false, startTimeoutMs: 300 });
  await assert.rejects(sick.start(), { name: 'UnhealthyError' });
  assert.equal(isRunning(pid), true);
  assert.equal((await manager.start()).pid, pid);
  await manager.stop();
});

test('each user that joins adds a line, which the next spawn removes; without lingerMs the file stays empty', async (t) => {
  const { manager, usersFile } = await startLingering(t, ENDLESS_MS);
  const sizeWithOne = statSync(usersFile).size;
  await new ProcessManager(manager.spec).start();
  assert.ok(statSync(usersFile).size > sizeWithOne);
  await manager.stop();
  await manager.start();
  assert.ok(statSync(usersFile).size <= sizeWithOne + 1);
  await manager.stop();
  const short = await startLingering(t, 0);
  assert.equal(existsSync(short.usersFile) && statSync(short.usersFile).size, 0);
  await short.manager.leave();
  assert.equal(isRunning(short.pid), false);
});

for (const lingerMs of [-1, Number.NaN, '5']) {
  test(`a spec with lingerMs ${inspect(lingerMs)} throws a TypeError that names the option`, async (t) => {
    const spec = { ...(await redisSpec(t, { lifetime: 'shared' })), lingerMs: lingerMs as number };
    assert.throws(() => new ProcessManager(spec), { name: 'TypeError', message: /"lingerMs" must be a number/ });
  });
}
