/** Stops that cannot succeed: the process may not be signalled, or there is nobody who could be signalled. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import {
  acquireLock,
  isLocked,
  lockHolders,
  ProcessManager,
  StateFileError,
  type StopResult,
  type StopTimeoutError,
} from '../../src/index.js';
import { timely } from '../helpers/gate.js';
import { journalFile } from '../helpers/journal.js';
import { asNobody, callElsewhere, unlessCapable, unlessRoot } from '../helpers/one-call.js';
import { isRunning, logged, processesIn, reachesState, snapshot } from '../helpers/outside-view.js';
import { startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { killAfter } from '../helpers/resources.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

type Test = Parameters<typeof redisSpec>[0];

/** Starts a redis of root in a folder that everybody may read, and gives its lock file this mode. */
async function redisOfRoot(t: Test, modes: Modes) {
  const spec = await redisSpec(t);
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  openToEverybody(manager, modes);
  return { spec, pid };
}

type Modes = { lockMode: number; folderMode: number };

function openToEverybody({ spec: { stateDir, lockFile } }: ProcessManager, { lockMode, folderMode }: Modes): void {
  chmodSync(dirname(stateDir), 0o755);
  chmodSync(stateDir, folderMode);
  chmodSync(lockFile, lockMode);
}

/** Another user, who sees the descriptors of all processes and may signal none of ours. */
const asNobodyWhoSees = {
  wrapper: [
    'setpriv',
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    '--inh-caps=+sys_ptrace,+dac_read_search',
    '--ambient-caps=+sys_ptrace,+dac_read_search',
  ],
};

const userOf = (pid: number) => /^Uid:\s(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];

const seconds = (began: number) => (performance.now() - began) / 1000;

// Some of these tests wait for seconds, so they run together.
describe('a stop that is refused', { concurrency: true }, () => {
  test("calls on another user's process whose lock file may not be opened throw LockUnavailableError (restart() StateFileError), and it runs on", {
    skip: unlessRoot,
  }, async (t) => {
    const { spec, pid } = await redisOfRoot(t, { lockMode: 0o600, folderMode: 0o755 });
    await logged(new ProcessManager(spec).spec.logFile, /Ready to accept connections/); // redis writes this line last by itself.
    const before = snapshot(spec.stateDir);
    for (const method of ['start', 'stop', 'restart', 'status', 'isRunning'] as const) {
      await assert.rejects(
        callElsewhere(t, method, spec, asNobody),
        { name: method === 'restart' ? 'StateFileError' : 'LockUnavailableError' },
        method,
      );
    }
    assert.deepEqual(snapshot(spec.stateDir), before);
    assert.equal(isRunning(pid), true);
  });

  test("a stop of another user's process that cannot be seen gives up within 10 s, and the process runs on", {
    skip: unlessRoot,
  }, async (t) => {
    const { spec, pid } = await redisOfRoot(t, { lockMode: 0o666, folderMode: 0o755 });
    const began = performance.now();
    await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, asNobody), (error) => {
      assert.deepEqual(
        [(error as StopTimeoutError).name, (error as StopTimeoutError).holders],
        ['StopTimeoutError', []],
      );
      assert.match((error as Error).message, /is still held by a process that cannot be seen/);
      return true;
    });
    assert.ok(seconds(began) < 10, `${seconds(began)} s`);
    assert.equal(isRunning(pid), true);
  });

  test("a stop of another user's process that can be seen but not signalled names it at once", {
    skip: unlessCapable('sys_ptrace', 'dac_read_search'),
  }, async (t) => {
    const { spec, pid } = await redisOfRoot(t, { lockMode: 0o666, folderMode: 0o777 });
    chmodSync(new ProcessManager(spec).spec.pidFile, 0o644);
    const began = performance.now();
    await assert.rejects(callElsewhere<StopResult>(t, 'stop', { ...spec, stopTimeoutMs: 60_000 }, asNobodyWhoSees), {
      name: 'StopTimeoutError',
      holders: [pid],
    });
    assert.ok(seconds(began) < 5, `${seconds(began)} s`);
    assert.equal(isRunning(pid), true);
  });

  for (const stopTimeoutMs of [300, 0]) {
    test(`a kill of another user's process that cannot be signalled ends its children that can (stopTimeoutMs ${stopTimeoutMs})`, {
      skip: unlessCapable('sys_ptrace', 'dac_read_search'),
    }, async (t) => {
      const script =
        'setpriv --reuid=65534 --regid=65534 --clear-groups setsid sleep 300 & echo "child $!"; exec sleep 300';
      const spec = sleepSpec(t, { command: 'sh', args: ['-c', script], stopSignal: 'SIGKILL', stopTimeoutMs });
      const manager = new ProcessManager(spec);
      const { pid } = await manager.start();
      const child = killAfter(t, Number((await logged(manager.spec.logFile, /child (\d+)/))[1]));
      await eventually('the child belongs to another user', () => userOf(child) === '65534');
      openToEverybody(manager, { lockMode: 0o666, folderMode: 0o777 });
      chownSync(journalFile(spec), 65534, 65534); // As if that user had started a program of root (setuid).
      await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, asNobodyWhoSees), {
        name: 'StopTimeoutError',
        holders: [pid],
      });
      assert.deepEqual([pid, child].map(isRunning), [true, false]);
    });
  }

  test('a stop while a stranger holds the lock throws a StopTimeoutError that names the stranger, which runs on', async (t) => {
    const manager = new ProcessManager(await redisSpec(t));
    acquireLock(manager.spec.lockFile).release();
    // flock(1) waits for the lock, so a probe of ours at that moment does not make it fail.
    const stranger = startProgram(t, 'flock', ['--no-fork', manager.spec.lockFile, 'sleep', '300']);
    await eventually('the stranger holds the lock', () => isLocked(manager.spec.lockFile));
    await assert.rejects(manager.stop(), {
      name: 'StopTimeoutError',
      code: 'ERR_STOP_TIMEOUT',
      holders: [stranger.pid],
    });
    assert.equal(stranger.isAlive, true);
    stranger.kill();
    await stranger.ended();
  });

  test('a stop waits for a starter that is suspended before its spawn and names it, without a signal; when resumed the starter gives up', async (t) => {
    const spec = await redisSpec(t, { startTimeoutMs: 60_000, stopTimeoutMs: 500 });
    const manager = new ProcessManager(spec);
    const portLock = acquireLock(join(tmpdir(), `flock-process-${userInfo().uid}`, `port-${spec.port}.lock`));
    t.after(() => portLock.release());
    const remote = await startRemoteManager(t, spec);
    const started = remote.start().catch((error: Error) => error.name);
    await eventually('the stranger holds the lock', () => isLocked(manager.spec.lockFile));
    remote.kill('SIGSTOP');
    await reachesState(remote.program.pid, 'T');
    await assert.rejects(manager.stop(), { name: 'StopTimeoutError', holders: [remote.program.pid] });
    assert.equal(remote.program.isAlive, true);
    remote.kill('SIGCONT');
    assert.equal(await started, 'StoppedError');
    assert.deepEqual(processesIn(spec.stateDir), []);
    assert.equal((await manager.status()).state, 'stopped');
  });

  test('a stop beside a starter that is suspended after its spawn ends what was spawned, and names the starter', async (t) => {
    const spec = await nodeSpec(t, { 'listen-after': 60_000 }, { startTimeoutMs: 60_000, stopTimeoutMs: 500 });
    const manager = new ProcessManager(spec);
    const remote = await startRemoteManager(t, spec);
    const started = remote.start().catch((error: Error) => error.name);
    const pid = Number((await logged(manager.spec.logFile, /server (\d+)/))[1]);
    remote.kill('SIGSTOP');
    await reachesState(remote.program.pid, 'T');
    await assert.rejects(manager.stop(), { name: 'StopTimeoutError', holders: [remote.program.pid] });
    assert.equal(isRunning(pid), false);
    remote.kill('SIGCONT');
    assert.equal(await started, 'StoppedError');
    assert.equal((await manager.status()).state, 'stopped');
  });

  test('a stop ends the process although the journal cannot be written, and then throws StateFileError', async (t) => {
    const spec = await redisSpec(t);
    const manager = new ProcessManager(spec);
    const { pid } = await manager.start();
    const journal = journalFile(spec);
    rmSync(journal);
    acquireLock(join(journal, 'x')).release(); // A folder is in the place of the journal.
    t.after(() => rmSync(journal, { recursive: true, force: true }));
    await assert.rejects(manager.stop(), (error) => {
      assert.ok(error instanceof StateFileError, String(error));
      assert.equal(error.path, journal);
      return true;
    });
    assert.equal(isRunning(pid), false);
    assert.equal(existsSync(manager.spec.pidFile), false);
    rmSync(journal, { recursive: true });
  });

  test('an aborted stop leaves the process in the state "stopping", and the next stop ends it', async (t) => {
    const manager = new ProcessManager(await nodeSpec(t, { 'on-term': 'ignore' }, { stopTimeoutMs: 60_000 }));
    const { pid } = await manager.start();
    const reason = new Error('enough');
    await assert.rejects(manager.stop({ signal: AbortSignal.abort(reason) }), reason);
    assert.equal((await manager.status()).state, 'running', 'aborted before it began');
    const abort = new AbortController();
    const stopped = manager.stop({ signal: abort.signal });
    await logged(manager.spec.logFile, /ignoring SIGTERM/);
    abort.abort(reason);
    await assert.rejects(stopped, reason);
    const { state, pid: found } = await manager.status();
    assert.deepEqual([state, found], ['stopping', pid]);
    assert.equal((await new ProcessManager({ ...manager.spec, stopTimeoutMs: 100 }).stop()).outcome, 'killed');
  });

  test('a stop whose stopTimeoutMs is too short for a stubborn group ends within 2 × stopTimeoutMs + 5 s', async (t) => {
    const manager = new ProcessManager(
      await nodeSpec(t, { 'on-term': 'ignore', child: 'session' }, { stopTimeoutMs: 200 }),
    );
    await manager.start();
    const began = performance.now();
    assert.equal((await manager.stop()).outcome, 'killed');
    assert.ok(seconds(began) < 5.4, `${seconds(began)} s`);
  });
});

test('a stop that finds new holders again and again keeps its time limit', async (t) => {
  const spec = sleepSpec(t, { stopTimeoutMs: 100 });
  const manager = new ProcessManager(spec);
  await manager.start();
  await manager.stop();
  const { lockFile } = manager.spec;
  const end = `${lockFile}.end`;
  const script = 'while [ ! -e "$1" ]; do flock "$0" sleep 300; done';
  const loops = [1, 2, 3].map(() => startProgram(t, 'sh', ['-c', script, lockFile, end]));
  await eventually('a stranger holds the lock', () => isLocked(lockFile));
  try {
    const { outcome } = await timely(manager.stop());
    // The stop succeeds when it finds the lock free between two holders.
    if (outcome instanceof Error) assert.equal(outcome.name, 'StopTimeoutError');
  } finally {
    writeFileSync(end, '');
    await eventually('all loops have ended', async () => {
      for (const pid of await lockHolders(lockFile).catch(() => [])) endHolder(pid);
      return loops.every((loop) => !loop.isAlive);
    });
  }
});

function endHolder(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ESRCH: the holder is gone already.
  }
}
