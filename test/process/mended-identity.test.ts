/** A record that is wrong in one point is no reason to take a live process for a dead one, or somebody else's for ours. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProcessManager } from '../../src/index.js';
import { isRunningProcess } from '../helpers/evidence.js';
import { outcomeOf } from '../helpers/gate.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { assertNothingLeft, processesIn } from '../helpers/outside-view.js';
import { rounds } from '../helpers/resources.js';
import { pythonSpec, sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

for (const seconds of [-3600, 3600]) {
  test(`a live process whose record is ${seconds} s off its start is running, and the one that start() gives`, async (t) => {
    const manager = new ProcessManager(sleepSpec(t));
    const { pid } = await manager.start();
    const [, name, startTime] = readFileSync(manager.spec.pidFile, 'utf8').split('\n');
    writeFileSync(manager.spec.pidFile, `${pid}\n${name}\n${Number(startTime) + seconds}\n`);
    const { state, pid: reported } = await manager.status();
    assert.deepEqual([state, reported], ['running', pid]);
    const again = await manager.start();
    assert.deepEqual([again.pid, again.reused, isRunningProcess(pid)], [pid, true, true]);
  });
}

test("another manager's server lives when its record is copied over ours and both log to /dev/null", async (t) => {
  const spec = sleepSpec(t, { logFile: '/dev/null' });
  const [ours, theirs] = ['ours', 'theirs'].map((name) => new ProcessManager({ ...spec, name }));
  if (ours === undefined || theirs === undefined) assert.fail();
  t.after(() => Promise.all([ours.stop(), theirs.stop()]));
  await ours.start();
  await ours.stop();
  const { pid } = await theirs.start();
  copyFileSync(theirs.spec.pidFile, ours.spec.pidFile);
  assert.equal((await ours.status()).state, 'stopped');
  const started = await ours.start();
  assert.equal(started.reused, false);
  assert.notEqual(started.pid, pid);
  copyFileSync(theirs.spec.pidFile, ours.spec.pidFile);
  await ours.stop();
  assert.deepEqual([pid, started.pid].map(isRunningProcess), [true, false]);
  await theirs.stop();
});

test('a server that puts itself into the background is adopted every time', async (t) => {
  for (let round = 1; round <= rounds(40); round += 1) {
    const spec = await pythonSpec(t, 'daemonise');
    const manager = new ProcessManager(spec);
    const { pid } = await manager.start();
    assert.equal((await manager.status()).pid, pid, `round ${round}`);
    assert.deepEqual(await manager.stop(), { outcome: 'stopped' });
    assert.deepEqual(processesIn(spec.stateDir), []);
  }
});

test('a server in the background whose lock file is deleted before it is ready is ended', async (t) => {
  let looks = 0;
  const spec = await pythonSpec(t, 'daemonise', {
    checkTimeoutMs: 10_000,
    isHealthy: ({ pid }) => {
      if (!readFileSync(`${spec.stateDir}/logs/python-server.log`, 'utf8').includes(`listening ${pid}\n`)) return false; // It only forks.
      looks += 1;
      if (looks === 1) unlinkSync(lockFile);
      return looks > 2;
    },
  });
  const lockFile = join(spec.stateDir, 'python-server.lock');
  const outcome = await outcomeOf(new ProcessManager(spec).start());
  assert.equal(outcome instanceof Error && outcome.name, 'LockUnavailableError', String(outcome));
  await eventually('nobody is left', () => processesIn(spec.stateDir).length === 0);
  unlinkSync(join(spec.stateDir, 'python-server.pid'));
  assertNothingLeft(spec);
});

test('in a container whose /proc/uptime counts from its own start a process without checks becomes ready', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const uptime = join(spec.stateDir, '..', 'uptime');
  writeFileSync(uptime, '5.00 5.00\n');
  const wrapper = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /proc/uptime && exec "$@"', uptime];
  const { pid } = await callElsewhere<{ pid: number }>(t, 'start', spec, { wrapper });
  const { state } = await callElsewhere<{ state: string }>(t, 'status', spec, { wrapper });
  assert.deepEqual([state, isRunningProcess(pid)], ['running', true]);
});
