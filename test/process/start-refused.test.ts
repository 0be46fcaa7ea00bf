/** Starts that the system refuses throw the right error, and leave nothing behind. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import {
  CommandNotFoundError,
  EarlyExitError,
  isLocked,
  ProcessManager,
  type ProcessSpec,
  SpawnError,
} from '../../src/index.js';
import { assertNothingLeft } from '../helpers/outside-view.js';
import { redisSpec } from '../helpers/servers.js';

type Test = Parameters<typeof redisSpec>[0];

/** A spec, and the folder around its state folder for what the test needs. */
async function specAnd(t: Test, changes: Partial<ProcessSpec> = {}): Promise<{ spec: ProcessSpec; folder: string }> {
  const spec = await redisSpec(t, changes);
  return { spec, folder: dirname(spec.stateDir) };
}

async function startFails(spec: ProcessSpec): Promise<Error> {
  const manager = new ProcessManager(spec);
  manager.on('spawned', () => assert.fail('it was spawned'));
  const error = await manager.start().then(
    () => assert.fail('it was started'),
    (reason: Error) => reason,
  );
  assertNothingLeft(spec);
  return error;
}

async function isNotFound(spec: ProcessSpec, why: RegExp): Promise<void> {
  const error = await startFails(spec);
  assert.ok(error instanceof CommandNotFoundError, String(error));
  assert.deepEqual([error.code, error.command], ['ERR_COMMAND_NOT_FOUND', spec.command]);
  assert.match(error.message, why);
}

async function isRefused(spec: ProcessSpec, why: RegExp): Promise<SpawnError> {
  const error = await startFails(spec);
  assert.ok(error instanceof SpawnError, String(error));
  assert.equal(error.code, 'ERR_SPAWN');
  assert.match(error.message, why);
  return error;
}

function writeScript(path: string, text: string, mode = 0o755): string {
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test('a command that does not exist, by path or by name, causes CommandNotFoundError', async (t) => {
  const { spec, folder } = await specAnd(t);
  await isNotFound(
    { ...spec, command: join(folder, 'none') },
    /^Cannot start redis: command ".*\/none" not found: no such file$/,
  );
  await isNotFound({ ...spec, command: 'no-such-command-anywhere' }, /not found: it is not on PATH$/);
  await isNotFound({ ...spec, env: { PATH: folder } }, /"redis-server" not found: it is not on PATH$/);
});

test('installHint ends the message about a command that does not exist', async (t) => {
  const { spec } = await specAnd(t, { command: 'no-such-command', installHint: 'Install it with: apt install it' });
  await isNotFound(spec, /it is not on PATH\. Install it with: apt install it$/);
});

test('a file that is not executable, a folder, or a broken link causes CommandNotFoundError', async (t) => {
  const { spec, folder } = await specAnd(t);
  const file = writeScript(join(folder, 'file'), '#!/bin/sh\n', 0o644);
  mkdirSync(join(folder, 'bin'));
  symlinkSync('nowhere', join(folder, 'link'));
  await isNotFound({ ...spec, command: file }, /is not an executable file/);
  await isNotFound({ ...spec, command: join(folder, 'bin') }, /is not an executable file/);
  await isNotFound({ ...spec, command: join(folder, 'link') }, /not found/);
  await isNotFound({ ...spec, command: join(file, 'under') }, /no such file/);
  await isNotFound({ ...spec, command: 'file', env: { PATH: folder } }, /"\/.*\/file" is not an executable file/);
});

test('the command is searched for on the PATH that the process gets, past files that cannot be run', async (t) => {
  const { spec, folder } = await specAnd(t, { command: 'server', args: [] });
  mkdirSync(join(folder, 'first'));
  mkdirSync(join(folder, 'second'));
  writeScript(join(folder, 'first/server'), '#!/bin/sh\nexit 1\n', 0o644);
  writeScript(join(folder, 'second/server'), '#!/bin/sh\nexec sleep 300\n');
  const { port: _, ...portless } = spec;
  const PATH = `${folder}/first:${folder}/none:${folder}/second:/usr/bin:/bin`;
  const manager = new ProcessManager({ ...portless, env: { PATH } });
  await manager.start();
  assert.equal((await manager.stop()).outcome, 'stopped');
});

test('a file that is no program and has no #! line is run by /bin/sh, as execvp(3) does', async (t) => {
  const { spec, folder } = await specAnd(t);
  const { port: _, ...portless } = spec;
  for (const lifetime of ['detached', 'tied'] as const) {
    const command = writeScript(join(folder, 'script'), 'exec sleep "$1"\n');
    const manager = new ProcessManager({ ...portless, lifetime, command, args: ['300'] });
    await manager.start();
    assert.equal(isLocked(manager.spec.lockFile), true);
    assert.equal((await manager.stop()).outcome, 'stopped');
    const noise = writeScript(join(folder, 'noise'), 'MZ\n');
    await assert.rejects(new ProcessManager({ ...spec, lifetime, command: noise }).start(), (error) => {
      assert.ok(error instanceof EarlyExitError, String(error));
      assert.equal(error.exitCode, 127);
      assert.match(error.logTail.join('\n'), /MZ.*not found/);
      return true;
    });
    assertNothingLeft(spec);
  }
});

test('a script whose interpreter is missing causes a SpawnError that does not blame the script', async (t) => {
  const { spec, folder } = await specAnd(t);
  const command = writeScript(join(folder, 'script'), '#!/no/such/interpreter -x\necho\n');
  const error = await isRefused({ ...spec, command }, /the interpreter of ".*\/script" does not exist$/);
  assert.equal((error.cause as NodeJS.ErrnoException).code, 'ENOENT');
});

test('a relative command is resolved from cwd, and not from the folder of the caller', async (t) => {
  const { spec, folder } = await specAnd(t);
  mkdirSync(join(folder, 'bin'));
  writeScript(join(folder, 'bin/server'), '#!/bin/sh\nexec sleep 300\n');
  const { port: _, ...portless } = { ...spec, args: [], command: './bin/server' };
  await isNotFound(portless, /no such file/);
  const manager = new ProcessManager({ ...portless, cwd: folder });
  await manager.start();
  assert.equal((await manager.stop()).outcome, 'stopped');
});

test('a cwd that is missing or a file causes a SpawnError that names it and not the command', async (t) => {
  const { spec, folder } = await specAnd(t);
  writeFileSync(join(folder, 'file'), '');
  for (const cwd of [join(folder, 'none'), join(folder, 'file')]) {
    const message = new RegExp(`^Cannot start redis: the working directory "${cwd}" does not exist$`);
    const error = await isRefused({ ...spec, cwd }, message);
    assert.match(String((error.cause as NodeJS.ErrnoException).code), /^(ENOENT|ENOTDIR)$/);
  }
});

test('arguments that are too long cause a SpawnError with E2BIG', async (t) => {
  const { spec } = await specAnd(t, { args: ['x'.repeat(3_000_000)] });
  const error = await isRefused(spec, /E2BIG/);
  assert.equal((error.cause as NodeJS.ErrnoException).code, 'E2BIG');
});

test('a log that cannot be written causes a SpawnError that names it', async (t) => {
  const { spec, folder } = await specAnd(t);
  writeFileSync(join(folder, 'file'), '');
  mkdirSync(join(folder, 'folder'));
  const inFile = await isRefused({ ...spec, logFile: join(folder, 'file/x.log') }, /file/);
  assert.match(String((inFile.cause as NodeJS.ErrnoException).code), /ENOTDIR|EEXIST/);
  const isFolder = await isRefused({ ...spec, logFile: join(folder, 'folder') }, /folder/);
  assert.equal((isFolder.cause as NodeJS.ErrnoException).code, 'EISDIR');
  await isRefused({ ...spec, logFile: '/proc/x/y.log' }, /\/proc\/x/);
});

test('a PID file whose folder cannot be made causes a SpawnError that names the folder', async (t) => {
  const { spec, folder } = await specAnd(t);
  writeFileSync(join(folder, 'file'), '');
  const error = await isRefused({ ...spec, pidFile: join(folder, 'file/run/x.pid') }, /file\/run/);
  assert.match(String((error.cause as NodeJS.ErrnoException).code), /ENOTDIR|EEXIST/);
  await isRefused({ ...spec, pidFile: '/proc/x/y.pid' }, /\/proc\/x/);
});

test('dataDirs under a file cause a SpawnError that names the folder', async (t) => {
  const { spec, folder } = await specAnd(t);
  writeFileSync(join(folder, 'file'), '');
  await isRefused({ ...spec, dataDirs: [join(folder, 'good'), join(folder, 'file/data')] }, /file\/data/);
  await isRefused({ ...spec, dataDirs: ['/proc/x/y'] }, /\/proc\/x/);
});

test('after a start that was refused the next start works', async (t) => {
  const { spec, folder } = await specAnd(t);
  await isNotFound({ ...spec, command: join(folder, 'none') }, /no such file/);
  await isRefused({ ...spec, cwd: join(folder, 'none') }, /working directory/);
  await isRefused({ ...spec, command: writeScript(join(folder, 'text'), '#!/no/such/interpreter\n') }, /interpreter/);
  const manager = new ProcessManager(spec);
  assert.equal((await manager.start()).reused, false);
  assert.equal((await manager.stop()).outcome, 'stopped');
});
