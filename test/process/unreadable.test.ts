/**
 * Servers whose descriptors cannot be seen: memcached that drops root and nginx's workers in a container without SYS_PTRACE, file
 * capabilities, set-user-ID, PR_SET_DUMPABLE. A descriptor that cannot be seen is unknown, and never counts as absent.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { isLocked, ProcessManager, type ProcessSpec } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { journalEntries, journalFile } from '../helpers/journal.js';
import { unlessRoot } from '../helpers/one-call.js';
import { logged, processesIn } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { type RemoteManager, startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter } from '../helpers/resources.js';
import { Supervision } from '../helpers/supervisor-process.js';
import {
  assertUnreadable,
  memcached,
  nginx,
  type Unreadable,
  undumpable,
  withFileCapability,
  withSetUserId,
} from '../helpers/unreadable.js';
import { eventually } from '../helpers/waiting.js';
import { accepts, livingInGroup } from '../helpers/witness.js';

interface Server {
  make: (t: TestContext, changes?: Partial<ProcessSpec>) => Promise<Unreadable>;
  skip: string | false;
  /** Waits until a server that is ready has become unreadable. */
  settle?: (spec: ProcessSpec, pid: number) => Promise<unknown>;
}

const becomeUnreadable = async (spec: ProcessSpec, pid: number) => {
  process.kill(pid, 'SIGUSR1');
  return await logged(new ProcessManager(spec).spec.logFile, new RegExp(`unreadable ${pid}\n`));
};

const servers: Record<string, Server> = {
  'memcached that drops root in a container': { make: memcached, skip: unlessRoot },
  'nginx in a container': { make: nginx, skip: unlessRoot },
  'a binary with a file capability': { make: withFileCapability, skip: unlessRoot },
  'a set-user-ID binary': { make: withSetUserId, skip: unlessRoot },
  'a server that makes itself undumpable at once': { make: (t, changes) => undumpable(t, [], changes), skip: false },
  'a server that makes itself undumpable later': {
    make: (t, changes) => undumpable(t, ['unreadable-later'], changes),
    skip: false,
    settle: becomeUnreadable,
  },
};

for (const [name, { make, skip, settle }] of Object.entries(servers)) {
  test(`${name}: it is started, found running, reused, replaced after kill -9, and stopped`, { skip }, async (t) => {
    const { spec, behind } = await make(t);
    const manager = await startRemoteManager(t, spec, { behind });
    const other = await startRemoteManager(t, spec, { behind });
    const first = await startSettled(manager, spec, settle);
    // The first process of nginx can be seen, but its workers cannot.
    for (const pid of livingInGroup(first).filter((it) => it !== first || make !== nginx))
      assertUnreadable(behind, pid);
    const { state, pid, checks } = await manager.status();
    assert.deepEqual([state, pid, checks.identity, checks.port], ['running', first, true, true]);
    const { pid: again, reused } = await other.start();
    assert.deepEqual([again, reused], [first, true]);

    process.kill(first, 'SIGKILL');
    await eventually('the process has ended', () => !isRunningProcess(first));
    assert.notEqual((await manager.status()).state, 'running');
    const second = await startSettled(other, spec, settle);
    assert.notEqual(second, first);
    assert.deepEqual(livingInGroup(first), []);
    assert.equal((await manager.status()).pid, second);

    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.deepEqual([...livingInGroup(second), ...processesIn(spec.stateDir)], []);
    assert.equal(isLocked(new ProcessManager(spec).spec.lockFile), false);
    assert.equal((await manager.status()).state, 'stopped');
  });

  test(`${name}: a stop after kill -9 leaves no process of the server`, { skip }, async (t) => {
    const { spec, behind } = await make(t);
    const manager = await startRemoteManager(t, spec, { behind });
    const pid = await startSettled(manager, spec, settle);
    process.kill(pid, 'SIGKILL');
    await eventually('the process has ended', () => !isRunningProcess(pid));
    await manager.stop();
    assert.deepEqual([...livingInGroup(pid), ...processesIn(spec.stateDir)], []);
    assert.equal(await accepts(spec.port), false);
  });

  test(`${name}: only one of several concurrent starts spawns the server, whether detached, tied or shared`, {
    skip,
  }, async (t) => {
    for (const lifetime of ['detached', 'tied', 'shared'] as const) {
      const { spec, behind } = await make(t, { lifetime });
      const managers = await Promise.all([1, 2, 3].map(() => startRemoteManager(t, spec, { behind })));
      const started = await Promise.all(managers.map((manager) => manager.start()));
      assert.equal(new Set(started.map(({ pid }) => pid)).size, 1, lifetime);
      assert.equal(started.filter(({ reused }) => !reused).length, 1, lifetime);
      assert.equal(journalEntries(spec, 'spawn').length, 1, lifetime);
      const [manager] = managers;
      assert.equal((await manager?.status())?.state, 'running', lifetime);
      assert.equal((await manager?.stop())?.outcome, 'stopped', lifetime);
      assert.deepEqual(livingInGroup(started[0]?.pid ?? 0), [], lifetime);
    }
  });
}

test('a supervisor restarts an unreadable server that was killed', async (t) => {
  const supervision = new Supervision(t);
  const { spec, behind } = await undumpable(t);
  const supervisor = await supervision.elsewhere(spec, {}, behind);
  const [pid = 0] = journalEntries(spec, 'spawn').map(({ pid }) => Number(pid));
  assert.ok(pid > 1);
  assertUnreadable(behind, pid);
  process.kill(pid, 'SIGKILL');
  await eventually(
    'the next process is ready',
    () => supervisor.all('ready').length === 2 && supervisor.state === 'watching',
  );
  assert.equal(supervisor.all('gaveUp').length, 0);
});

test('an unreadable server that ignores the stop signal is killed', async (t) => {
  const { spec, behind } = await undumpable(t, ['ignore-term'], { stopTimeoutMs: 300 });
  const manager = await startRemoteManager(t, spec, { behind });
  const { pid } = await manager.start();
  assert.equal((await manager.stop()).outcome, 'killed');
  assert.equal(isRunningProcess(pid), false);
});

test('an unreadable server that dropped its lock is ended with LockDroppedError for each concurrent start', async (t) => {
  const { spec, behind } = await undumpable(t, ['close-descriptors']);
  const managers = await Promise.all([1, 2, 3, 4].map(() => startRemoteManager(t, spec, { behind })));
  const outcomes = await Promise.all(managers.map((manager) => manager.start().catch((error: Error) => error)));
  assert.deepEqual(
    outcomes.map((outcome) => (outcome instanceof Error ? outcome.name : outcome)),
    ['LockDroppedError', 'LockDroppedError', 'LockDroppedError', 'LockDroppedError'],
  );
  assert.deepEqual(
    processesIn(spec.stateDir).filter((pid) => !managers.some(({ program }) => program.pid === pid)),
    [],
  );
});

test('an unreadable server that is stopped while its lock is being checked is never called ready', async (t) => {
  let isStopped = false;
  // The check takes 100 ms, and on a busy machine the stop can come after it.
  for (let round = 1; round <= 5 && !isStopped; round += 1) {
    const { spec, behind } = await undumpable(t);
    const manager = await startRemoteManager(t, spec, { behind });
    let isOver = false;
    const starting = manager
      .start()
      .catch((error: Error) => error)
      .finally(() => {
        isOver = true;
      });
    await eventually('the server accepts connections', () => accepts(spec.port), { everyMs: 2 });
    const isSeen = () => isOver || isLocked(journalFile(spec));
    await eventually('the journal is locked, or the start is over', isSeen, { everyMs: 1 });
    await new ProcessManager(spec).stop();
    const outcome = await starting;
    isStopped = outcome instanceof Error;
    if (!isStopped) continue;
    assert.equal((outcome as Error).name, 'StoppedError');
    assert.deepEqual(journalEntries(spec, 'ready'), []);
  }
  assert.equal(isStopped, true);
});

test('an unreadable server without a port is started, found and stopped', async (t) => {
  const { spec, behind } = await undumpable(t, ['no-port']);
  const { port: _, ...portless } = spec;
  const manager = await startRemoteManager(t, portless, { behind });
  const { pid } = await manager.start();
  await logged(new ProcessManager(spec).spec.logFile, new RegExp(`unreadable ${pid}\n`));
  assert.deepEqual([(await manager.status()).pid, (await manager.start()).pid], [pid, pid]);
  assert.equal((await manager.stop()).outcome, 'stopped');
});

test('an unreadable server is taken for the process, and not its readable child; a start and a stop end both', async (t) => {
  const { spec, behind } = await undumpable(t, ['sleep']);
  const manager = await startRemoteManager(t, spec, { behind });
  const { logFile } = new ProcessManager(spec).spec;
  const begin = async () => {
    const { pid } = await manager.start();
    const children = [...readFileSync(logFile, 'utf8').matchAll(/^child (\d+)$/gm)];
    return { pid, child: killAfter(t, Number(children.at(-1)?.[1])) };
  };
  const first = await begin();
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', first.pid]);
  assert.equal((await manager.start()).pid, first.pid);
  process.kill(first.pid, 'SIGKILL');
  const second = await begin();
  assert.equal(isRunningProcess(first.child), false);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.deepEqual([second.pid, second.child].filter(isRunningProcess), []);
});

test('a server in the background that becomes unreadable later is found and stopped', async (t) => {
  const { spec, behind } = await undumpable(t, ['daemonise', 'unreadable-later']);
  const manager = await startRemoteManager(t, spec, { behind });
  const pid = await startSettled(manager, spec, becomeUnreadable);
  assertUnreadable(behind, pid);
  assert.deepEqual([(await manager.status()).state, (await manager.start()).pid], ['running', pid]);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.equal(isRunningProcess(pid), false);
});

test('a start that is aborted while an unreadable server starts leaves no process', async (t) => {
  const { spec, behind } = await undumpable(t, ['no-port']);
  const manager = await startRemoteManager(t, spec, { behind });
  await assert.rejects(manager.start({ abortAfterMs: 700 }), { name: 'TimeoutError' });
  assert.deepEqual(
    processesIn(spec.stateDir).filter((pid) => pid !== manager.program.pid),
    [],
  );
});

test('a stop does not signal a stranger that cannot be seen and has taken the lock of a dead process', {
  skip: unlessRoot,
}, async (t) => {
  const { spec, behind } = await undumpable(t, [], { stopTimeoutMs: 300 });
  const manager = await startRemoteManager(t, spec, { behind });
  const { pid } = await manager.start();
  process.kill(pid, 'SIGKILL');
  const { lockFile } = new ProcessManager(spec).spec;
  await eventually('the lock is free', () => !isLocked(lockFile));
  const stranger = startProgram(t, 'flock', ['-F', lockFile, 'sleep', '300']);
  await eventually('the lock is held', () => isLocked(lockFile));
  await assert.rejects(manager.stop(), { name: 'StopTimeoutError' });
  assert.equal(stranger.isAlive, true);
  stranger.kill();
});

async function startSettled(manager: RemoteManager, spec: ProcessSpec, settle: Server['settle']): Promise<number> {
  const { pid } = await manager.start();
  await settle?.(spec, pid);
  return pid;
}
