/** A /proc that tells less than usual: an entry that cannot be read, the option `subset=pid`, or no /proc at all. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isLocked, lockHolders, ProcessManager, type Status } from '../../src/index.js';
import { isRunningProcess, startSecond } from '../helpers/evidence.js';
import { journalFile } from '../helpers/journal.js';
import { callElsewhere, oneCallCommand, unlessCapable, unlessRoot } from '../helpers/one-call.js';
import { processesIn } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { AS_NOBODY } from '../helpers/powerless.js';
import { startProgram } from '../helpers/programs.js';
import { nodeSpec, sleepSpec } from '../helpers/servers.js';
import { undumpable, withFileCapability } from '../helpers/unreadable.js';
import { eventually } from '../helpers/waiting.js';

/** The words in front of a command that give it a /proc of this kind. */
const withProc = (mount: string) => ['unshare', '--mount', 'sh', '-c', `${mount} && exec "$@"`, 'sh'];
const SUBSET = withProc('mount -t proc -o subset=pid proc /proc');
const WITHOUT_PROC = withProc('mount -t tmpfs none /proc');
/** The command gets PIDs of its own and keeps the outer /proc, where the same numbers are other processes. */
const FOREIGN_PROC = ['unshare', '--pid', '--fork'];
const HIDING_PROC = withProc('mount -t proc -o hidepid=2 proc /proc');

test('a stranger with an open file whose path is too long does not disturb finding holders, starting and stopping', async (t) => {
  await openLongPath(t);
  const manager = new ProcessManager(await nodeSpec(t, { child: 'session' }));
  const { pid } = await manager.start();
  const holders = await lockHolders(manager.spec.lockFile);
  assert.ok(holders.includes(pid), holders.join());
  assert.equal((await manager.status()).state, 'running');
  rmSync(journalFile(manager.spec));
  assert.equal((await manager.status()).pid, pid);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.deepEqual(holders.filter(isRunningProcess), []);
});

test('where /proc shows processes only, startedAt and the PID file are right, with a journal and without', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const { pid } = await callElsewhere<{ pid: number }>(t, 'start', spec, { wrapper: SUBSET });
  const { pidFile } = new ProcessManager(spec).spec;
  const [, , second] = readFileSync(pidFile, 'utf8').split('\n');
  const began = startSecond(pid);
  assert.ok(Math.abs(Number(second) - began) <= 2, `${second}, not ${began}`);
  rmSync(journalFile(spec));
  const status = await callElsewhere<Status>(t, 'status', spec, { wrapper: SUBSET });
  assert.deepEqual([status.state, status.pid], ['running', pid]);
  const startedAt = Date.parse(String(status.startedAt)) / 1000;
  assert.ok(Math.abs(startedAt - began) <= 2, `${status.startedAt}, not ${began}`);
  const stopped = await callElsewhere<{ outcome: string }>(t, 'stop', spec, { wrapper: SUBSET });
  assert.deepEqual([stopped.outcome, isRunningProcess(pid)], ['stopped', false]);
});

test('without /proc nothing is spawned, and each call says what is missing', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const elsewhere = (method: Parameters<typeof callElsewhere>[1]) => {
    return callElsewhere(t, method, { ...spec, lockFile: manager.spec.lockFile }, { wrapper: WITHOUT_PROC });
  };
  const missing = /\/proc is not mounted/;
  await assert.rejects(elsewhere('start'), { name: 'SpawnError', message: missing });
  assert.equal(isLocked(manager.spec.lockFile), false);
  const { pid } = await manager.start();
  await assert.rejects(elsewhere('start'), { message: missing });
  for (const method of ['status', 'lockHolders', 'stop'] as const) {
    await assert.rejects(elsewhere(method), { name: 'LockUnavailableError', message: missing }, method);
  }
  assert.equal(isRunningProcess(pid), true);
});

test('in a PID namespace with the /proc of another one every call says so', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  const missing = { message: /\/proc is that of another PID namespace/ };
  for (const lifetime of ['detached', 'tied', 'shared'] as const) {
    await assert.rejects(callElsewhere(t, 'start', { ...spec, lifetime }, { wrapper: FOREIGN_PROC }), missing);
  }
  assert.equal(isLocked(manager.spec.lockFile), false);
  const { pid } = await manager.start();
  for (const method of ['start', 'status', 'lockHolders', 'stop'] as const) {
    const options = { ...spec, lockFile: manager.spec.lockFile };
    await assert.rejects(callElsewhere(t, method, options, { wrapper: FOREIGN_PROC }), missing, method);
  }
  assert.equal(isRunningProcess(pid), true);
});

for (const [how, make] of Object.entries({ 'at once': withFileCapability, 'soon after its start': undumpable })) {
  test(`a server that /proc hides from its user ${how} is ended, and the error names hidepid`, {
    skip: unlessRoot || unlessCapable('sys_admin'),
  }, async (t) => {
    const { spec } = await make(t);
    chownSync(dirname(spec.stateDir), 65_534, 65_534);
    const wrapper = [...HIDING_PROC, ...AS_NOBODY];
    await assert.rejects(callElsewhere(t, 'start', spec, { wrapper }), { name: 'SpawnError', message: /hidepid/ });
    await eventually('no process is left', () => processesIn(spec.stateDir).length === 0);
  });
}

test("a PID file that names another user's process which /proc hides is left as it is", {
  skip: unlessRoot || unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const { pidFile } = new ProcessManager(spec).spec;
  mkdirSync(spec.stateDir);
  const text = `${startProgram(t, 'sleep', ['300']).pid}\n`;
  writeFileSync(pidFile, text);
  for (const path of [dirname(spec.stateDir), spec.stateDir, pidFile]) chownSync(path, 65_534, 65_534);
  for (const method of ['start', 'stop'] as const) {
    await callElsewhere(t, method, spec, { wrapper: [...HIDING_PROC, ...AS_NOBODY] });
    assert.equal(readFileSync(pidFile, 'utf8'), text, method);
  }
});

async function openLongPath(t: TestContext): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flock-process-test-'));
  t.after(() => {
    // rm(1) walks down folder by folder, while node:fs passes the whole path to the kernel.
    spawnSync('rm', ['-rf', folder]);
  });
  const stranger = startProgram(t, 'python3', [plainFixture('long-path.py'), folder]);
  await stranger.printed(/open/);
  assert.throws(() => readlinkSync(`/proc/${stranger.pid}/fd/3`), { code: 'ENAMETOOLONG' });
}

test('a process that was started in a nested PID namespace is found running, and start() spawns no second one', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const spec = sleepSpec(t);
  const manager = new ProcessManager(spec);
  // A namespace ends with its process 1, so this shell stays.
  const script = '"$@"; read -r end';
  const namespace = startProgram(
    t,
    'unshare',
    ['--pid', '--fork', '--mount-proc', 'sh', '-c', script, 'sh', ...oneCallCommand('start', spec)],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const [, inner] = await namespace.printed(/"pid":(\d+)/);
  const { state, pid } = await manager.status();
  assert.equal(state, 'running');
  assert.notEqual(pid, Number(inner));
  assert.match(readFileSync(`/proc/${pid}/status`, 'latin1'), new RegExp(`^NSpid:.*\\t${inner}$`, 'm'));
  const { pid: started, reused } = await manager.start();
  assert.deepEqual([started, reused], [pid, true]);
  assert.equal((await manager.stop()).outcome, 'stopped');
  namespace.child.stdin?.end();
  await namespace.ended();
});
