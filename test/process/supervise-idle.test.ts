/** What a supervisor costs while nothing happens, with the addon and without it, and that it still misses nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ProcessManager, type ProcessSpec, type SuperviseOptions } from '../../src/index.js';
import { LOCK_MODES, type LockMode, lockSetup, percentUsed } from '../helpers/cost.js';
import { journalEntries } from '../helpers/journal.js';
import { whereIs } from '../helpers/path-with-only.js';
import { type Program, startFixture } from '../helpers/programs.js';
import { redisPid } from '../helpers/redis.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { nodeSpec, redisSpec, sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

/** Two checks fall into this time, and one percent of it is more than the rounding of the measured CPU time. */
const WATCHED_MS = 5_000;
const CHECKED_EVERY = { checkIntervalMs: 2_000 } satisfies SuperviseOptions;

/** A supervisor that checks all the time would have started several helpers in this time. */
const WITHOUT_HELPERS_MS = 1_500;

/** The crash of a process that somebody else spawned is noticed by the regular checks. */
const SEEN_WITHIN_MS = 1_000;

class QuietSupervisor {
  readonly program: Program;
  readonly starts: () => string[];

  constructor(t: TestContext, mode: LockMode, spec: ProcessSpec, superviseOptions: SuperviseOptions) {
    const { options, starts } = lockSetup(t, mode);
    this.program = startFixture(
      t,
      'supervisor-process',
      [JSON.stringify(spec), JSON.stringify(superviseOptions), 'quiet'],
      options,
    );
    this.starts = starts;
  }

  async reaches(state: string): Promise<void> {
    await eventually(`the supervisor is in state ${state}`, async () => {
      this.program.send('state');
      return (await this.program.message()) === state;
    });
  }

  /** Waits until no helper has been started for half a second. */
  async isAtRest(): Promise<void> {
    await eventually('no helper is started for half a second', async () => {
      const before = this.starts().length;
      await delay(500);
      return this.starts().length === before;
    });
  }
}

async function supervise(t: TestContext, mode: LockMode, spec: ProcessSpec, options: SuperviseOptions = CHECKED_EVERY) {
  const supervisor = new QuietSupervisor(t, mode, spec, options);
  assert.equal(await supervisor.program.message(), 'up');
  return supervisor;
}

const withPaths = { command: whereIs('redis-server') } satisfies Partial<ProcessSpec>;

// They mostly wait, and each measures a process of its own, so some of them run together.
describe('a supervisor', { concurrency: 4 }, () => {
  for (const mode of LOCK_MODES) {
    for (const whose of ['its own child', "somebody else's child"] as const) {
      test(`through ${mode}: a supervisor of ${whose} uses less than 1 % of a core, and starts no helper`, async (t) => {
        const spec = await redisSpec(t, withPaths);
        if (whose !== 'its own child') await new ProcessManager(spec).start();
        const supervisor = await supervise(t, mode, spec);
        await supervisor.reaches('watching');
        await supervisor.isAtRest();
        const before = supervisor.starts().length;
        const percent = await percentUsed(supervisor.program.pid, WATCHED_MS, { below: 1 });
        assert.equal(supervisor.starts().length, before, 'helpers that were started meanwhile');
        assert.ok(percent < 1, `${percent.toFixed(1)} % of a core`);
      });

      test(`through ${mode}: a supervisor of ${whose} notices a crash, a stop() and a start() from elsewhere`, async (t) => {
        const spec = await redisSpec(t, withPaths);
        const manager = new ProcessManager(spec);
        if (whose !== 'its own child') await manager.start();
        const supervisor = await supervise(t, mode, spec);
        await supervisor.reaches('watching');
        const first = await redisPid(spec.port);
        const began = performance.now();
        process.kill(first, 'SIGKILL');
        const next = await eventually('another server answers', async () => {
          const pid = await redisPid(spec.port).catch(() => first);
          return pid === first ? undefined : pid;
        });
        t.diagnostic(`another server after ${(performance.now() - began).toFixed()} ms`);
        assert.ok(performance.now() - began < SEEN_WITHIN_MS * 5);
        await manager.stop();
        await supervisor.reaches('standby');
        await assert.rejects(redisPid(spec.port));
        assert.notEqual((await manager.start()).pid, next);
        await supervisor.reaches('watching');
      });
    }
  }

  for (const mode of ['perl', 'flock(1)'] satisfies LockMode[]) {
    test(`through ${mode}: a supervisor on standby starts no helper, and watches again after a start()`, async (t) => {
      const spec = sleepSpec(t, { command: whereIs('sleep') });
      const manager = new ProcessManager(spec);
      await manager.start();
      await manager.stop();
      const supervisor = await supervise(t, mode, spec, { respectStop: true });
      await supervisor.reaches('standby');
      await supervisor.isAtRest();
      const before = supervisor.starts().length;
      const percent = await percentUsed(supervisor.program.pid, WATCHED_MS, { below: 1 });
      assert.equal(supervisor.starts().length, before);
      assert.ok(percent < 1, `${percent.toFixed(1)} % of a core`);
      await manager.start();
      await supervisor.reaches('watching');
    });

    test(`through ${mode}: a supervisor that waits for the next restart starts no helper`, async (t) => {
      const spec = sleepSpec(t, { command: whereIs('sleep'), args: ['0.3'] });
      const backoff = { initialMs: 60_000, maxMs: 60_000 };
      const supervisor = await supervise(t, mode, spec, { backoff, giveUpAfter: { restarts: 100 } });
      await eventually('a restart is more than ten seconds away', () =>
        journalEntries(spec, 'crash').some(({ delayMs }) => Number(delayMs) > 10_000),
      );
      await supervisor.isAtRest();
      const before = supervisor.starts().length;
      await delay(WITHOUT_HELPERS_MS);
      assert.equal(supervisor.starts().length, before);
      // The supervisor notices when somebody else starts the process meanwhile.
      await new ProcessManager({ ...spec, args: ['300'] }).start();
      await supervisor.reaches('watching');
    });
  }
});

for (const mode of ['perl', 'flock(1)'] satisfies LockMode[]) {
  test(`through ${mode}: a start() that waits for another start does not use a helper for each check`, async (t) => {
    const spec = await nodeSpec(t, { 'listen-after': 3_000 });
    const starter = new ProcessManager(spec);
    const spawned = once(starter, 'spawned');
    const first = starter.start();
    await spawned;
    const { options, starts } = lockSetup(t, mode);
    const second = await startRemoteManager(t, spec, options);
    const began = performance.now();
    const { pid, reused } = await second.start();
    assert.deepEqual([pid, reused], [(await first).pid, true]);
    assert.ok(performance.now() - began > 1_000, 'it waited');
    assert.ok(starts().length < 20, `${starts().length} helpers`);
  });
}
