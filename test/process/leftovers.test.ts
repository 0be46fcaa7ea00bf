import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  type Instance,
  isLocked,
  lockHolders,
  ProcessManager,
  type ProcessSpec,
  UnhealthyError,
} from '../../src/index.js';
import { bringDown } from '../../src/stop/stop.js';
import { Deadline } from '../../src/support/deadline.js';
import { isRunningProcess, isZombie, watchSignals } from '../helpers/evidence.js';
import { Gate, timely } from '../helpers/gate.js';
import { logged } from '../helpers/outside-view.js';
import { plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { freePort, killAfter, temporaryFolder } from '../helpers/resources.js';
import { nodeSpec, sleepSpec } from '../helpers/servers.js';
import { eventually } from '../helpers/waiting.js';

const kinds = { stay: 'stopped', ignore: 'killed', session: 'stopped' } as const;

for (const [kind, outcome] of Object.entries(kinds)) {
  test(`the survivors of a crashed server (--child=${kind}) are unhealthy, and a stop ends them: ${outcome}`, async (t) => {
    const { manager, child, pid } = await crash(t, kind, { stopTimeoutMs: outcome === 'killed' ? 300 : 10_000 });
    const { state, pid: none, checks } = await manager.status();
    assert.deepEqual([state, none, checks.lock, checks.process], ['unhealthy', undefined, true, false]);
    assert.deepEqual(await lockHolders(manager.spec.lockFile), [child]);
    const signals = watchSignals(t);
    assert.equal((await manager.stop()).outcome, outcome);
    assert.deepEqual(signals.targets(), [child]);
    assert.deepEqual([pid, child].map(isRunningProcess), [false, false]);
    assert.equal((await manager.status()).state, 'stopped');
  });

  test(`a start replaces the survivors of a crashed server (--child=${kind})`, async (t) => {
    const { manager, child } = await crash(t, kind, { stopTimeoutMs: 300 });
    const { pid, reused } = await manager.start();
    assert.deepEqual([reused, isRunningProcess(child)], [false, false]);
    assert.ok((await lockHolders(manager.spec.lockFile)).includes(pid));
    assert.equal((await manager.status()).state, 'running');
    // A child in a session of its own, or one that ignores the signal, ends together with the server all the same.
    const heir = await childOf(t, manager, pid);
    await manager.stop();
    assert.deepEqual([pid, heir].map(isRunningProcess), [false, false]);
    assert.equal(isLocked(manager.spec.lockFile), false);
  });

  test(`a restart ends the children of the server, too (--child=${kind})`, async (t) => {
    const { manager, child, pid } = await run(t, kind, { stopTimeoutMs: 300 });
    const next = await manager.restart();
    assert.notEqual(next.pid, pid);
    assert.deepEqual([pid, child].map(isRunningProcess), [false, false]);
    await childOf(t, manager, next.pid);
  });
}

for (const method of ['stop', 'restart'] as const) {
  test(`${method}() with the stop signal SIGKILL ends a child in a session of its own, too`, async (t) => {
    const { manager, child, pid } = await run(t, 'session', { stopSignal: 'SIGKILL' });
    const signals = watchSignals(t);
    await manager[method]();
    assert.deepEqual(signals.targets(), [pid, child]);
    assert.deepEqual([pid, child].map(isRunningProcess), [false, false]);
    assert.equal(isLocked(manager.spec.lockFile), method === 'restart');
  });
}

test('the survivors of a server with its state folder below /dev are found, too', {
  skip: !existsSync('/dev/shm') && 'needs /dev/shm',
}, async (t) => {
  const folder = mkdtempSync('/dev/shm/flock-process-test-');
  const { manager, child, pid } = await crash(t, 'session', { stateDir: folder });
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  assert.deepEqual(await lockHolders(manager.spec.lockFile), [child]);
  assert.equal((await manager.stop()).outcome, 'stopped');
  const next = await manager.start();
  const heir = await childOf(t, manager, next.pid);
  await new ProcessManager({ ...manager.spec, stopSignal: 'SIGKILL' }).stop();
  assert.deepEqual([pid, child, next.pid, heir].map(isRunningProcess), [false, false, false, false]);
});

test('a kill whose limit is over before its first look ends the children, too', async (t) => {
  const { manager, child, pid } = await run(t, 'session', { stopSignal: 'SIGKILL' });
  await timely(bringDown(manager.spec, { limit: Deadline.exactly(0) }));
  // On a busy machine the call is over before those that it has killed are gone.
  await eventually('the server and its child have ended', () => ![pid, child].some(isRunningProcess));
});

test('a kill whose limit passes when the process is dead ends its children, and finds the lock free', async (t) => {
  const { manager, child, pid } = await run(t, 'session', { stopSignal: 'SIGKILL' });
  const limit = {
    remainingMs: 10_000,
    get isOver() {
      return !isRunningProcess(pid);
    },
  };
  assert.equal((await timely(bringDown(manager.spec, { limit: limit as Deadline }))).outcome, 'stopped');
  assert.deepEqual([pid, child].map(isRunningProcess), [false, false]);
});

test('concurrent starts replace survivors by one server', async (t) => {
  const { manager, child } = await crash(t, 'stay');
  const others = [1, 2, 3].map(() => new ProcessManager(manager.spec));
  const started = await Promise.all([manager, ...others].map((each) => each.start()));
  assert.equal(new Set(started.map(({ pid }) => pid)).size, 1);
  assert.equal(started.filter(({ reused }) => !reused).length, 1);
  assert.equal(isRunningProcess(child), false);
  await childOf(t, manager, started[0]?.pid ?? 0);
});

test('a healthy server with children is not taken for survivors when its PID file names a dead process', async (t) => {
  const { manager, child, pid } = await run(t, 'session');
  const dead = startProgram(t, 'true');
  await dead.ended();
  const poison = () => writeFileSync(manager.spec.pidFile, `${dead.pid}\nnode\n1700000000\n`);
  poison();
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
  const { pid: adopted, reused } = await manager.start();
  assert.deepEqual([adopted, reused], [pid, true]);
  assert.match(readFileSync(manager.spec.pidFile, 'utf8'), new RegExp(`^${pid}\n`));
  poison();
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.deepEqual([pid, child].map(isRunningProcess), [false, false]);
});

test('a server with children is found when its PID file is empty, and its children end with it', async (t) => {
  const { manager, child, pid } = await run(t, 'session');
  writeFileSync(manager.spec.pidFile, '');
  assert.deepEqual([(await manager.status()).state, (await manager.status()).pid], ['running', pid]);
  assert.equal((await manager.stop()).outcome, 'stopped');
  assert.deepEqual([pid, child].map(isRunningProcess), [false, false]);
});

test('while a process is exiting and its port still accepts, no survivor is taken for the process', async (t) => {
  const folder = temporaryFolder(t);
  const port = await freePort();
  const args = [plainFixture('asked-to-end.py'), folder, String(port)];
  const spec = sleepSpec(t, { command: 'python3', args, port, stopTimeoutMs: 200 });
  const manager = new ProcessManager(spec);
  const { pid } = await manager.start();
  killAfter(t, pid);
  await eventually('the process is up', () => existsSync(join(folder, 'up')));
  const child = killAfter(t, Number(readFileSync(join(folder, 'child'), 'utf8')));
  // A killed process is like this for a moment, this one stays so: its first thread has ended, and another one keeps it alive.
  writeFileSync(join(folder, 'end-main'), '');
  await eventually('the first thread of the process has ended', () => isZombie(pid) && isRunningProcess(pid));

  const { state, pid: found, checks } = await manager.status();
  assert.deepEqual([found, checks.lock, checks.process], [undefined, true, false], state);
  await assert.rejects(new ProcessManager({ ...spec, startTimeoutMs: 300 }).start(), UnhealthyError);
  assert.match(readFileSync(manager.spec.pidFile, 'utf8'), new RegExp(`^${pid}\n`));
  assert.equal(isRunningProcess(child), true);

  rmSync(join(folder, 'end-main'));
  process.kill(pid, 'SIGKILL');
  const next = await manager.start();
  assert.ok(![pid, child].includes(next.pid), `PID ${next.pid}`);
  assert.equal(isRunningProcess(child), false);
});

for (const [how, exitCode, name, startTimeoutMs] of [
  ['fails', 1, 'EarlyExitError', 60_000],
  // With exit code 0 the server could have put itself into the background, so its child is waited for.
  ['ends without becoming ready', 0, 'StartTimeoutError', 3_000],
] as const) {
  test(`when a server ${how} while it starts its children are ended`, async (t) => {
    const behaviour = { child: 'session', 'listen-after': 60_000, 'exit-after': 300, 'exit-code': exitCode };
    const manager = new ProcessManager(await nodeSpec(t, behaviour, { startTimeoutMs }));
    await assert.rejects(manager.start(), { name });
    const child = Number(/child (\d+)/.exec(readFileSync(manager.spec.logFile, 'utf8'))?.[1]);
    assert.equal(isRunningProcess(killAfter(t, child)), false);
    assert.equal((await manager.status()).state, 'stopped');
    assert.equal(isLocked(manager.spec.lockFile), false);
  });
}

interface Running {
  manager: ProcessManager;
  pid: number;
  child: number;
}

async function run(t: TestContext, kind: string, changes: Partial<ProcessSpec> = {}): Promise<Running> {
  const manager = new ProcessManager(await nodeSpec(t, { child: kind }, changes));
  const { pid } = await manager.start();
  return { manager, pid, child: await childOf(t, manager, pid) };
}

/** Kills the server alone, as a crash would. */
async function crash(t: TestContext, kind: string, changes: Partial<ProcessSpec> = {}): Promise<Running> {
  const running = await run(t, kind, changes);
  process.kill(running.pid, 'SIGKILL');
  await eventually('the server is gone', () => !isRunningProcess(running.pid));
  return running;
}

/** The child that this run of the server has logged, once the child behaves as its kind says. */
async function childOf(t: TestContext, { spec }: ProcessManager, pid: number): Promise<number> {
  const logged = new RegExp(`server ${pid} [^]*?child (\\d+)\n`);
  const child = await eventually('the child is up', () => {
    const logText = readFileSync(spec.logFile, 'utf8');
    const found = logged.exec(logText)?.[1];
    return logText.includes(`up: ${found}\n`) ? found : undefined;
  });
  return killAfter(t, Number(child));
}

/** This is longer than any test takes: each check ends when the test opens the gate. */
const LONG_MS = 60_000;

const hasServerFile = ({ pid }: Instance) =>
  isRunningProcess(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('server.mjs');

test('a start that checks survivors for a long time does not end the process that another start has made meanwhile', async (t) => {
  const gate = new Gate();
  const spec = sleepSpec(t, {
    command: process.execPath,
    args: [plainFixture('server.mjs'), '--child=session'],
    checkTimeoutMs: LONG_MS,
    startTimeoutMs: LONG_MS,
    isHealthy: hasServerFile,
  });
  const quick = new ProcessManager(spec);
  const slow = new ProcessManager({
    ...spec,
    isHealthy: async (instance) => {
      await gate.pass(instance);
      return hasServerFile(instance);
    },
  });
  const first = await quick.start();
  const [, child] = await logged(quick.spec.logFile, /up: (\d+)/);
  const ended: number[] = [];
  quick.on('exit', ({ pid }) => ended.push(pid));
  process.kill(first.pid, 'SIGKILL');
  // An exiting server is unhealthy, too, and would be checked in the place of its child.
  await eventually('the server is gone', () => !isRunningProcess(first.pid));
  await eventually('status() reports "unhealthy"', async () => (await quick.status()).state === 'unhealthy');

  const slowStart = slow.start();
  assert.equal((await gate.asked).pid, Number(child));
  const second = await quick.start();
  gate.open();
  const { pid, reused } = await slowStart;
  assert.deepEqual([pid, reused], [second.pid, true]);
  assert.deepEqual(ended, [first.pid]);
  assert.equal(isRunningProcess(second.pid), true);
});
