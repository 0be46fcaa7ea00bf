/** When ps(1) or lsof(1) fails nothing is known of the process: that is an error, and never "there is no such process". */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Instance, isLocked, ProcessManager, type Status, type StopResult } from '../../src/index.js';
import * as portable from '../../src/system/process-table-portable.js';
import { callElsewhere, callOnDarwin, onDarwin, unlessCapable } from '../helpers/one-call.js';
import { isRunning } from '../helpers/outside-view.js';
import { fixture, plainFixture, projectRoot } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';
import { groupEnds, watcherArguments } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

const FAILURES = ['complains', 'exit 2', 'KILL', 'shim', 'other'] as const;

/** The options of a call for which this program fails, in a process that takes its platform for macOS. */
function failing(t: TestContext, program: 'ps' | 'lsof', how: (typeof FAILURES)[number]) {
  const folder = temporaryFolder(t);
  copyFileSync(plainFixture('failing-program.sh'), join(folder, program));
  chmodSync(join(folder, program), 0o755);
  return { ...onDarwin, env: { ...process.env, PATH: `${folder}:${process.env.PATH}`, FAILURE: how } };
}

test('with a ps(1) that fails each call throws, and takes no process for dead', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  for (const how of FAILURES) {
    const poor = failing(t, 'ps', how);
    const expected = { name: 'LockUnavailableError', message: /Cannot tell who holds .* ps (failed|printed)/ };
    await assert.rejects(callElsewhere<Status>(t, 'status', spec, poor), expected, how);
    await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, poor), expected, how);
    await assert.rejects(callElsewhere<Instance>(t, 'start', spec, poor), { message: /ps (failed|printed)/ }, how);
    assert.equal(isRunning(pid), true, how);
  }
  assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
});

test('with an lsof(1) that fails each call throws, and takes no process for one without open files', async (t) => {
  const spec = await redisSpec(t);
  const { pid } = await new ProcessManager(spec).start();
  for (const how of FAILURES.filter((it) => it !== 'other')) {
    const poor = failing(t, 'lsof', how);
    const expected = { name: 'LockUnavailableError', message: /Cannot tell who has .* lsof failed/ };
    await assert.rejects(callElsewhere<Status>(t, 'status', spec, poor), expected, how);
    await assert.rejects(callElsewhere<StopResult>(t, 'stop', spec, poor), expected, how);
    assert.equal(isRunning(pid), true, how);
  }
});

test('a start that cannot check what it spawned says so, and leaves no process', async (t) => {
  for (const program of ['ps', 'lsof'] as const) {
    const spec = await redisSpec(t);
    const call = callElsewhere<Instance>(t, 'start', spec, failing(t, program, 'exit 2'));
    await assert.rejects(call, { message: new RegExp(`${program} failed \\(exit code 2\\)`) });
    const { lockFile } = new ProcessManager(spec).spec;
    await eventually('the lock is free', () => !isLocked(lockFile));
  }
});

test('a watcher whose ps(1) fails gives its server stopTimeoutMs to end', {
  skip: unlessCapable('sys_admin'),
}, async (t) => {
  const { env } = failing(t, 'ps', 'exit 2');
  const server = 'trap "sleep 0.5; echo ended in peace; exit" TERM; echo up; while :; do sleep 0.1; done';
  const words = watcherArguments('tied', '15', '5000', '', '0', 'sh', '-c', server);
  const withoutProc = 'mount -t tmpfs none /proc && exec setsid sh "$@"';
  const program = startProgram(t, 'unshare', ['--mount', 'sh', '-c', withoutProc, 'sh', ...words], {
    stdio: ['ignore', 'pipe', 'pipe', 'ignore', 'pipe'],
    env,
  });
  await program.printed(/up/);
  (program.child.stdio[4] as unknown as { destroy(): void }).destroy();
  await program.printed(/ended in peace/);
});

test('files with the same inode on two devices count as two files', { skip: unlessCapable('sys_admin') }, async (t) => {
  const folder = temporaryFolder(t);
  const mount =
    'cd "$0" && mkdir a b && mount -t tmpfs none a && mount -t tmpfs none b && : >a/f && : >b/f && exec "$@"';
  const words = ['--mount', 'sh', '-c', mount, folder, process.execPath, fixture('same-inode')];
  const { stdout, stderr } = await startProgram(t, 'unshare', words).ended();
  assert.notEqual(stdout, '', stderr);
  assert.deepEqual(JSON.parse(stdout), { isSameInode: true, own: [true, true], other: [false, false] });
});

test('spaces in the path of the library, of a helper or of the server hide neither the watcher nor the server', async (t) => {
  const folder = join(temporaryFolder(t), 'a folder with  spaces');
  cpSync(join(projectRoot, 'build'), join(folder, 'build'), { recursive: true });
  cpSync(join(projectRoot, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(projectRoot, 'node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'bin'));
  for (const program of ['sleep', 'flock', 'sh']) symlinkSync(`/usr/bin/${program}`, join(folder, 'bin', program));
  const env = { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH}` };
  const command = join(folder, 'bin', 'redis server');
  for (const lifetime of ['tied', 'shared'] as const) {
    const spec = { ...(await redisSpec(t, { command: 'redis-server' })), lifetime };
    const owner = startProgram(
      t,
      process.execPath,
      [...onDarwin.nodeArgs, join(folder, 'build/test/fixtures/owner.js'), JSON.stringify(spec), 'stays'],
      { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env },
    );
    const { instance } = await owner.message<{ instance: Instance }>();
    const status = await callOnDarwin<Status>(t, 'status', spec);
    assert.deepEqual(
      [status.state, status.pid, status.users],
      ['running', instance.pid, lifetime === 'shared' ? 1 : undefined],
    );
    assert.equal((await callOnDarwin<StopResult>(t, 'stop', spec)).outcome, 'stopped');
    await groupEnds(instance.pid);
  }
  copyFileSync('/bin/sleep', command);
  const { pid } = startProgram(t, command, ['300']);
  await eventually('the process has the name "redis server"', () =>
    portable.commandNames(pid).includes('redis server'),
  );
});
