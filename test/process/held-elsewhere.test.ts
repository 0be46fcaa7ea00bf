/**
 * The lock is held by a holder that is neither our process nor a start: a watcher that ends its process, or another
 * program.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  acquireLock,
  type Instance,
  isLocked,
  lockHolders,
  ProcessManager,
  type ProcessSpec,
  type StopTimeoutError,
} from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf, timed } from '../helpers/gate.js';
import { logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { freePort, killAfter, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, sleepSpec } from '../helpers/servers.js';
import { startOwner, watcherOf } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

/** The time within which an error names a holder that is not worth waiting for. */
const TOLD_WITHIN_MS = 5_000;

/** The additional time that a busy machine may take. */
const SLACK_MS = 2_500;

/** The process lives for `stopTimeoutMs` after its owner or its last user has gone: longer than its start may take. */
const LINGERING = { startTimeoutMs: 2_000, stopTimeoutMs: 4_000 };

async function startLingering(
  t: TestContext,
  lifetime: 'tied' | 'shared',
): Promise<{ spec: ProcessSpec; pid: number }> {
  const args = ['-c', 'trap "echo asked" TERM; echo up; while :; do sleep 0.1; done'];
  const spec = sleepSpec(t, { ...LINGERING, command: 'sh', args, lifetime });
  const { program, pid } = await startOwner(t, spec);
  await logged(new ProcessManager(spec).spec.logFile, /^up$/m);
  program.kill();
  await logged(new ProcessManager(spec).spec.logFile, /^asked$/m);
  return { spec, pid };
}

// They mostly wait, so some of them run together.
describe('a lock that is held elsewhere', { concurrency: 4 }, () => {
  for (const lifetime of ['tied', 'shared'] as const) {
    for (const next of ['detached', lifetime] as const) {
      test(`the time in which a watcher ends the ${lifetime} predecessor does not count as start time of a ${next} one`, async (t) => {
        const { spec, pid: predecessor } = await startLingering(t, lifetime);
        const manager = new ProcessManager({ ...spec, lifetime: next });
        const { pid, reused } = await manager.start();
        assert.deepEqual([reused, isRunningProcess(predecessor), isRunningProcess(pid)], [false, false, true]);
        if (next === 'shared') await manager.leave();
        else await manager.stop();
      });
    }
  }

  test('while a suspended watcher should end the predecessor, a start waits no longer than a stop takes', async (t) => {
    const { spec, pid } = await startLingering(t, 'tied');
    const watcher = watcherOf(pid);
    process.kill(watcher, 'SIGSTOP');
    const bound = 2 * LINGERING.stopTimeoutMs + 5_000 + LINGERING.startTimeoutMs;
    try {
      const { ms } = await timed(new ProcessManager(spec).start());
      assert.ok(ms < bound + SLACK_MS, `${ms} ms`);
    } finally {
      process.kill(watcher, 'SIGCONT');
    }
  });

  async function startOtherDaemon(t: TestContext, lockFile: string): Promise<Program> {
    const daemon = startProgram(t, 'python3', [plainFixture('lock.py'), lockFile, 'ex'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    await daemon.printed(/held/);
    return daemon;
  }

  for (const [when, prepare] of [
    ['when no process of ours ever ran', async () => undefined],
    [
      'after a process of ours ran',
      async (manager: ProcessManager) => {
        await manager.start();
        await manager.stop();
      },
    ],
    [
      'after a start of ours was killed',
      async ({ spec }: ProcessManager, t: TestContext) => {
        const starter = await startRemoteManager(t, { ...spec, port: await freePort() });
        starter.start().catch(() => undefined);
        const spawned = await eventually('the process is spawned', () =>
          starter.events.find(({ event }) => event === 'spawned'),
        );
        starter.kill();
        await starter.program.exited;
        process.kill((spawned.detail as Instance).pid, 'SIGKILL');
      },
    ],
  ] as const) {
    test(`start() and stop() name another program that holds the lock within 5 s, ${when}`, async (t) => {
      const manager = new ProcessManager(sleepSpec(t));
      await prepare(manager, t);
      const daemon = await startOtherDaemon(t, manager.spec.lockFile);
      const held = { start: await timed(manager.start()), stop: await timed(manager.stop()) };
      assert.match((held.start.outcome as Error).name, /^(UnhealthyError|StopTimeoutError)$/);
      assert.deepEqual((held.stop.outcome as StopTimeoutError).holders, [daemon.pid]);
      // The journal now has a stop that did not succeed.
      const again = await timed(manager.start());
      assert.equal((again.outcome as Error).name, 'StopTimeoutError');
      for (const { outcome, ms } of [held.start, held.stop, again]) {
        assert.match((outcome as Error).message, new RegExp(`PID ${daemon.pid}`));
        assert.ok(ms < TOLD_WITHIN_MS + SLACK_MS, `${ms} ms`);
      }
      assert.equal((await manager.status()).state, 'unknown');
      assert.equal(daemon.isAlive, true);
      daemon.kill();
      await daemon.ended();
    });
  }

  test('a start waits for a lock that another program holds for a short time', async (t) => {
    const manager = new ProcessManager(sleepSpec(t));
    const daemon = await startOtherDaemon(t, manager.spec.lockFile);
    const started = manager.start();
    await delay(500);
    daemon.kill();
    assert.equal((await started).reused, false);
  });

  test('a start waits for another start that is slow to spawn, for longer than it waits for a stranger', async (t) => {
    const TMPDIR = temporaryFolder(t);
    const spec = sleepSpec(t, { startTimeoutMs: 20_000 });
    const port = await freePort();
    const server = { ...spec, ...(await nodeSpec(t, {}, { port })), stateDir: spec.stateDir, startTimeoutMs: 20_000 };
    const portLock = acquireLock(join(TMPDIR, `flock-process-${process.getuid?.()}`, `port-${port}.lock`));
    const [first, second] = await Promise.all(
      [1, 2].map(() => startRemoteManager(t, server, { env: { ...process.env, TMPDIR } })),
    );
    const started = Promise.all([first, second].map((manager) => manager?.start()));
    await delay(TOLD_WITHIN_MS + 1_000);
    portLock.release();
    const instances = (await started) as Instance[];
    assert.equal(new Set(instances.map(({ pid }) => pid)).size, 1);
    await first?.stop();
  });

  test('a start that finds an old stop in the journal and a stranger with the lock names the stranger', async (t) => {
    const spec = sleepSpec(t);
    const manager = new ProcessManager(spec);
    await manager.start();
    await manager.stop();
    const { lockFile } = manager.spec;
    startProgram(t, 'flock', [lockFile, 'tail', '-f', '/dev/null']);
    const holders = await eventually('the stranger holds the lock', async () => {
      const pids = await lockHolders(lockFile);
      return pids.length === 2 ? pids : undefined;
    });
    for (const pid of holders) killAfter(t, pid);
    const impatient = new ProcessManager({ ...spec, startTimeoutMs: 200, stopTimeoutMs: 200 });
    const error = (await outcomeOf(impatient.start())) as Error & { holders?: number[] };
    assert.equal(error.name, 'StopTimeoutError');
    assert.deepEqual(error.holders?.toSorted(), holders.toSorted());
    assert.match(error.message, new RegExp(String(holders[0])));
    assert.ok(holders.every(isRunningProcess));
    // The hook after the test calls stop(), which needs the lock.
    for (const pid of holders) process.kill(pid, 'SIGKILL');
    await eventually('the lock is free', () => !isLocked(lockFile));
  });
});
