/**
 * A descriptor that the caller has inherited stays with the caller. Node sets close-on-exec only up to the first gap
 * above 15.
 */
import assert from 'node:assert/strict';
import { existsSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, isLocked, type ProcessSpec } from '../../src/index.js';
import type { Owned } from '../fixtures/owner.js';
import { oneCallCommand } from '../helpers/one-call.js';
import { fixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { killAfter, temporaryFolder } from '../helpers/resources.js';
import { redisSpec } from '../helpers/servers.js';
import { watcherOf } from '../helpers/tied.js';
import { livingInGroup } from '../helpers/witness.js';

/** Runs a command with the file locked at each of these descriptors, as a shell script with `exec 200>FILE; flock 200` does. */
const LOCKED_AT =
  'import fcntl, os, sys\n' +
  'path, fds = sys.argv[1], [int(fd) for fd in sys.argv[2].split(",")]\n' +
  'file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)\n' +
  'fcntl.flock(file, fcntl.LOCK_EX)\n' +
  'for fd in fds: os.dup2(file, fd, inheritable=True)\n' +
  'os.execvp(sys.argv[3], sys.argv[3:])\n';

/** Descriptor 3 is left out, since a fixture has its IPC channel there. */
const FDS = '9,17,18,99,200,255,1000';

function locked(path: string, command: readonly string[]): string[] {
  return ['-c', LOCKED_AT, path, FDS, ...command];
}

/** The PIDs of the processes in the group that have the file open. */
function havingOpen(path: string, groupId: number): number[] {
  const links = (pid: number) => readdirSync(`/proc/${pid}/fd`).map((fd) => readlink(`/proc/${pid}/fd/${fd}`));
  return livingInGroup(groupId).filter((pid) => links(pid).includes(path));
}

function readlink(path: string): string | undefined {
  // A descriptor that was closed meanwhile is not open.
  return existsSync(path) ? readlinkSync(path) : undefined;
}

async function startedFromScript(t: TestContext, spec: ProcessSpec, path: string): Promise<number> {
  const program = startProgram(t, 'python3', locked(path, oneCallCommand('start', spec)));
  const { stdout, stderr } = await program.ended();
  assert.match(stdout, /"pid":\d+/, stderr);
  return killAfter(t, Number(/"pid":(\d+)/.exec(stdout)?.[1]));
}

test('a lock that the calling script holds is free when the script has ended, although the server still runs', async (t) => {
  const path = join(temporaryFolder(t), 'script.lock');
  const pid = await startedFromScript(t, await redisSpec(t), path);
  assert.equal(livingInGroup(pid).length, 1, 'it runs');
  assert.deepEqual(havingOpen(path, pid), []);
  acquireLock(path).release();
});

test('a lock that the calling script holds reaches neither the watcher of a tied process nor the helpers of a shared one', async (t) => {
  for (const lifetime of ['tied', 'shared'] as const) {
    const path = join(temporaryFolder(t), 'script.lock');
    const spec = { ...(await redisSpec(t)), lifetime };
    const command = [process.execPath, fixture('owner'), JSON.stringify(spec), 'stays'];
    const owner = startProgram(t, 'python3', locked(path, command), { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    const { instance } = await owner.message<Owned>();
    watcherOf(instance.pid);
    assert.deepEqual(havingOpen(path, instance.pid), [], lifetime);
    assert.equal(isLocked(path), true, 'the script itself holds the lock');
  }
});

test('descriptors that a caller has opened, or hands on by its own spawn, stay as they are', async (t) => {
  const folder = temporaryFolder(t);
  const script =
    'import { spawnSync } from "node:child_process";' +
    `const { ProcessManager } = await import(${JSON.stringify(fixture('../../src/index'))});` +
    `const manager = new ProcessManager(${JSON.stringify(await redisSpec(t))});` +
    'await manager.start(); await manager.stop();' +
    'const stdio = ["ignore", "pipe", "inherit", 200, 99];' +
    'console.log(spawnSync("readlink", ["/proc/self/fd/3", "/proc/self/fd/4"], { stdio, encoding: "utf8" }).stdout);';
  const path = join(folder, 'script.lock');
  const program = startProgram(t, 'python3', locked(path, [process.execPath, '--input-type=module', '--eval', script]));
  const { stdout, stderr } = await program.ended();
  assert.equal(stdout.trim(), `${path}\n${path}`, stderr);
});

test('a file that an addon has opened without close-on-exec is not inherited by the process', async (t) => {
  const path = join(temporaryFolder(t), 'kept-open');
  const spec = await redisSpec(t);
  const { ProcessManager } = await import('../../src/index.js');
  const { fcntlSync } = process.getBuiltinModule('node:module').createRequire(import.meta.url)('fs-ext') as {
    fcntlSync(fd: number, command: string, flags?: number): number;
  };
  const fd = openSync(path, 'w');
  fcntlSync(fd, 'setfd', 0);
  const { pid } = await new ProcessManager(spec).start();
  assert.deepEqual(havingOpen(path, pid), []);
});
