/** A server is suspended while it starts. What was seen of it at the spawn does not count for ever. */
import assert from 'node:assert/strict';
import childProcess, { type ChildProcess } from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';
import { type TestContext, test } from 'node:test';
import { type Instance, ProcessManager } from '../../src/index.js';
import { stateOf } from '../helpers/outside-view.js';
import { redisSpec, sleepSpec } from '../helpers/servers.js';
import { eventually, STILL_MS } from '../helpers/waiting.js';

/** Suspends whatever this process spawns before the library can check it. */
function suspendWhatIsSpawned(t: TestContext): void {
  const spawn = childProcess.spawn as (...args: unknown[]) => ChildProcess;
  const { mock } = t.mock.method(childProcess, 'spawn', (...args: unknown[]) => {
    const child = spawn(...args);
    suspend(child.pid ?? 0);
    return child;
  });
  syncBuiltinESMExports();
  t.after(() => {
    mock.restore();
    syncBuiltinESMExports();
  });
}

function suspend(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  while (stateOf(pid) !== 'T');
}

test('a process that is suspended at its spawn becomes ready when it is resumed', async (t) => {
  const manager = new ProcessManager(await redisSpec(t));
  suspendWhatIsSpawned(t);
  manager.on('spawned', ({ pid }) => process.kill(pid, 'SIGCONT'));
  const { pid } = await manager.start();
  const { state, pid: found } = await manager.status();
  assert.deepEqual([state, found], ['running', pid]);
});

test('a process that is suspended after its spawn does not become ready before it is resumed', async (t) => {
  let suspended: number | undefined;
  const isHealthy = ({ pid }: Instance) => {
    if (suspended !== undefined) return true;
    suspended = pid;
    suspend(pid);
    return false;
  };
  const started = new ProcessManager(sleepSpec(t, { startTimeoutMs: 60_000, isHealthy })).start();
  const pid = await eventually('the process is suspended', () => suspended);
  const early = await Promise.race([started, new Promise((resolve) => setTimeout(resolve, STILL_MS, 'waits'))]);
  assert.equal(early, 'waits');
  process.kill(pid, 'SIGCONT');
  assert.equal((await started).pid, pid);
});
