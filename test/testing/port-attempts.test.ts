/** A server that could not get its ports is started again on another port. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EarlyExitError, type ProcessSpec, startEphemeral, startShared } from '../../src/index.js';
import { ownTemporaryFolder } from '../helpers/ephemeral.js';
import { plainFixture } from '../helpers/paths.js';
import { freePort, temporaryFolder } from '../helpers/resources.js';
import { nothingIsLeft, ownKey } from '../helpers/shared.js';

function panicsOnce(test: Parameters<typeof temporaryFolder>[0]) {
  const marker = join(temporaryFolder(test), 'marker');
  return ({ stateDir = '', port = 0 }: { stateDir?: string; port?: number }): ProcessSpec => ({
    name: 'panics',
    command: process.execPath,
    args: [plainFixture('server.mjs'), `--panic-once=${marker}`, `--port=${port}`],
    port,
    stateDir,
  });
}

test('startShared starts a server again that ended early because a port of its own choice was taken', async (t) => {
  const key = ownKey();
  const instance = await startShared(panicsOnce(t), { key });
  assert.equal(instance.reused, false);
  await instance.leave();
  await nothingIsLeft(key);
});

test('startEphemeral also starts such a server again', async (t) => {
  await (await startEphemeral(panicsOnce(t))).stop();
});

test('a server that ends early on each port is tried on three ports, and the error is the last one', async () => {
  const tried: number[] = [];
  const preset = ({ stateDir = '', port = 0 }: { stateDir?: string; port?: number }): ProcessSpec => {
    tried.push(port);
    return { name: 'false', command: 'false', port, stateDir };
  };
  // The system can give the same free port twice, but hardly in two starts.
  for (let start = 1; start <= 2 && new Set(tried).size < 3; start += 1) {
    tried.length = 0;
    await assert.rejects(startEphemeral(preset), { name: 'EarlyExitError', exitCode: 1 });
    assert.equal(tried.length, 3);
  }
  assert.equal(new Set(tried).size, 3);
});

test('on a given port a server is tried once, and the error has the whole trace', async (t) => {
  const call = startShared(panicsOnce(t), { key: ownKey(), port: await freePort() });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof EarlyExitError);
    assert.match(error.logTail[0] ?? '', /^panic: /);
    return true;
  });
});

/** The spec of test/fixtures/crashes.mjs, and how often the program was started. */
function crashing(test: Parameters<typeof temporaryFolder>[0], how: string, command?: readonly string[]) {
  const file = join(temporaryFolder(test), 'starts');
  const words = [process.execPath, plainFixture('crashes.mjs'), file, how];
  const [program = '', ...args] = [...(command ?? []), ...words];
  return {
    preset: ({ stateDir = '', port = 0 }: { stateDir?: string; port?: number }): ProcessSpec => {
      return { name: 'crashes', command: program, args, port, stateDir };
    },
    starts: () => readFileSync(file, 'utf8').trim().split('\n').length,
  };
}

/**
 * A shell that waits for a program, as npm does, exits with 128 plus the number of the signal that killed the program.
 */
const BEHIND_A_SHELL = ['/bin/sh', '-c', '"$@"; exit $?', 'sh'];

test('a server that dies of a signal which no port can cause is started once', async (t) => {
  ownTemporaryFolder(t);
  const crashes = [
    ...(['SIGSEGV', 'SIGBUS', 'SIGFPE', 'SIGSYS', 'SIGKILL'] as const).map((how) => ({ how, behind: undefined })),
    { how: 'SIGSEGV', behind: BEHIND_A_SHELL },
    { how: '139', behind: undefined },
  ];
  for (const { how, behind } of crashes) {
    const { preset, starts } = crashing(t, how, behind);
    await assert.rejects(startEphemeral(preset), { name: 'EarlyExitError' });
    assert.equal(starts(), 1, `${how} ${behind}`);
    await assert.rejects(startShared(preset, { key: ownKey() }), { name: 'EarlyExitError' });
    assert.equal(starts(), 2, `${how} ${behind}`);
  }
});

test('a server that aborts or traps may have found its port taken, so it is started three times', async (t) => {
  ownTemporaryFolder(t);
  for (const how of ['SIGABRT', 'SIGTRAP', 'SIGILL', '134', '1']) {
    const { preset, starts } = crashing(t, how);
    await assert.rejects(startEphemeral(preset), { name: 'EarlyExitError' });
    assert.equal(starts(), 3, how);
  }
});
