/** Start, stop and supervision of a tied process work as those of a detached one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EarlyExitError, isLocked, ProcessManager } from '../../src/index.js';
import { assertNothingLeft, logged } from '../helpers/outside-view.js';
import { startRemoteManager } from '../helpers/remote-manager.js';
import { rounds } from '../helpers/resources.js';
import { nodeSpec, pythonSpec, redisSpec } from '../helpers/servers.js';
import { Supervision } from '../helpers/supervisor-process.js';
import { groupEnds, processesNaming, startOwner, watcherOf } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { accepts, livingInGroup } from '../helpers/witness.js';

test('the owner can start and stop a tied process again and again, and no process of its group is left', async (t) => {
  const spec = await redisSpec(t, { lifetime: 'tied' });
  const manager = new ProcessManager(spec);
  for (let round = 0; round < rounds(20); round += 1) {
    const { pid, reused } = await manager.start();
    assert.equal(reused, false);
    assert.equal((await manager.start()).reused, true);
    assert.equal((await manager.stop()).outcome, 'stopped');
    assert.deepEqual(livingInGroup(pid), []);
    assert.equal(await accepts(spec.port), false);
    assert.equal(isLocked(manager.spec.lockFile), false);
  }
});

test('a stop by another process ends the whole group, and the watcher does not make its outcome "killed"', async (t) => {
  const spec = await redisSpec(t);
  const owner = await startOwner(t, spec);
  assert.equal((await (await startRemoteManager(t, spec)).stop()).outcome, 'stopped');
  assert.deepEqual(livingInGroup(owner.pid), []);
  assert.equal(owner.program.isAlive, true);
});

test('a stop while the owner is suspended ends the whole group, and its outcome is "stopped"', async (t) => {
  const spec = await redisSpec(t);
  const owner = await startOwner(t, spec);
  owner.program.kill('SIGSTOP');
  assert.equal((await new ProcessManager(spec).stop()).outcome, 'stopped');
  assert.deepEqual(livingInGroup(owner.pid), []);
});

for (const stopSignal of ['SIGKILL', 'SIGINT', 'SIGUSR1', 'SIGWINCH'] as const) {
  test(`stopSignal ${stopSignal}: a stop ends a tied process, and so does the death of its owner`, async (t) => {
    const spec = await redisSpec(t, { stopSignal, stopTimeoutMs: 300 });
    const manager = new ProcessManager({ ...spec, lifetime: 'tied' });
    const { pid } = await manager.start();
    const { outcome } = await manager.stop();
    assert.notEqual(outcome, 'not-running');
    assert.deepEqual(livingInGroup(pid), []);
    const owner = await startOwner(t, spec);
    owner.program.kill();
    await groupEnds(owner.pid);
  });
}

test('a stop kills a tied server that ignores SIGTERM after stopTimeoutMs', async (t) => {
  const spec = await nodeSpec(t, { 'on-term': 'ignore' }, { lifetime: 'tied', stopTimeoutMs: 300 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  assert.equal((await manager.stop()).outcome, 'killed');
  assert.deepEqual(livingInGroup(pid), []);
});

test('a server that is found running keeps its lifetime: detached for a tied manager, and tied for a detached one', async (t) => {
  const detachedSpec = await redisSpec(t);
  const { pid } = await new ProcessManager(detachedSpec).start();
  const finder = await startOwner(t, detachedSpec);
  assert.equal(finder.instance.reused, true);
  finder.program.kill();
  await finder.program.exited;
  assert.deepEqual(livingInGroup(pid), [pid]);
  assert.equal((await new ProcessManager(detachedSpec).status()).state, 'running');

  const tiedSpec = await redisSpec(t);
  const owner = await startOwner(t, tiedSpec);
  const { reused } = await new ProcessManager(tiedSpec).start();
  assert.equal(reused, true);
  owner.program.kill();
  await groupEnds(owner.pid);
});

test('a supervised tied process comes back with a new watcher after each crash, and a stop ends its whole group', async (t) => {
  const supervision = new Supervision(t);
  const spec = await redisSpec(t, { lifetime: 'tied' });
  const manager = new ProcessManager(spec);
  const ready: number[] = [];
  manager.on('ready', ({ pid }) => ready.push(pid));
  const options = { giveUpAfter: { restarts: 100 }, backoff: { initialMs: 10, maxMs: 10 } };
  const supervisor = supervision.add(manager.supervise(options));
  for (let round = 1; round <= rounds(10); round += 1) {
    const pid = await eventually('the next server is ready', () => ready[round - 1]);
    watcherOf(pid);
    process.kill(pid, 'SIGKILL');
    await groupEnds(pid);
  }
  const last = await eventually('the last server is ready', () => ready[rounds(10)]);
  await manager.stop();
  await supervisor.done;
  assert.deepEqual(livingInGroup(last), []);
});

test('the exit event of a tied process has the exit code of the server', async (t) => {
  const spec = await nodeSpec(t, { 'exit-after': 2_000, 'exit-code': 7 }, { lifetime: 'tied' });
  const manager = new ProcessManager(spec);
  const exits: unknown[] = [];
  manager.on('exit', (detail) => exits.push(detail));
  const { pid } = await manager.start();
  await eventually('the exit event is emitted', () => exits.length > 0);
  assert.deepEqual(exits, [{ pid, exitCode: 7, signal: null }]);
  await groupEnds(pid);
});

test('a tied server that puts itself into the background is ended with EarlyExitError', async (t) => {
  const spec = await pythonSpec(t, 'daemonise', { lifetime: 'tied' });
  const manager = new ProcessManager(spec);
  await assert.rejects(manager.start(), (error) => error instanceof EarlyExitError && error.exitCode === 0);
  assert.deepEqual(processesNaming(`server.py\0${spec.port}`), []);
  assert.equal(isLocked(manager.spec.lockFile), false);
});

test('a tied server that forks and exits again and again is ended with its last child, and with EarlyExitError', async (t) => {
  // Each process lives for less time than a walk through all processes takes, and the last one stays.
  const chain =
    'use POSIX; exit 0 if fork; POSIX::setsid(); for (1 .. 40) { select undef, undef, undef, 0.002; POSIX::_exit(0) if fork } sleep 300';
  const spec = await redisSpec(t, { command: 'perl', args: ['-e', chain], lifetime: 'tied' });
  await assert.rejects(new ProcessManager(spec).start(), EarlyExitError);
  assertNothingLeft(spec);
});

test('a start of a tied process that is aborted at the spawn leaves no process of the group', async (t) => {
  for (let round = 0; round < rounds(20); round += 1) {
    const spec = await redisSpec(t, { lifetime: 'tied', stopTimeoutMs: 60_000 });
    const manager = new ProcessManager(spec);
    const abortion = new AbortController();
    let pid = 0;
    manager.on('spawned', (instance) => {
      pid = instance.pid;
      abortion.abort();
    });
    const begin = performance.now();
    await assert.rejects(manager.start({ signal: abortion.signal }), { name: 'AbortError' });
    // A lost SIGTERM would cost the whole grace of a failed start, 2 s.
    assert.ok(performance.now() - begin < 1_900);
    assert.deepEqual(livingInGroup(pid), []);
  }
});

test('a restart of a tied process works for its owner, and for another process, which becomes the owner', async (t) => {
  const spec = await redisSpec(t);
  const owner = await startRemoteManager(t, { ...spec, lifetime: 'tied' });
  const first = await owner.start();
  const second = await owner.restart();
  assert.notEqual(second.pid, first.pid);
  await groupEnds(first.pid);
  const other = await startRemoteManager(t, { ...spec, lifetime: 'tied' });
  const third = await other.restart();
  assert.notEqual(third.pid, second.pid);
  // The second manager is the owner now.
  owner.kill();
  await owner.program.exited;
  assert.equal((await new ProcessManager(spec).status()).state, 'running');
  other.kill();
  await groupEnds(third.pid);
  await logged(new ProcessManager(spec).spec.logFile, /ready to exit/);
});
