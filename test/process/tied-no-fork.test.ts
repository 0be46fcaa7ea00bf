/** When the shell cannot fork a watcher there is no server. Root has no such limit, so another user runs the shell. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { isRunning } from '../helpers/outside-view.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';
import { watcherArguments } from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';

/** A new user ID for each run: the limit counts all processes of the user on this machine, zombies included. */
let lastUid = 100_000 + process.pid * 10;

const SHELLS = [['dash'], ['busybox', 'sh']] as const;

function asLimitedUser(
  t: TestContext,
  processes: number,
  shell: readonly string[],
  command: readonly string[],
): Program {
  const lock = openSync(join(temporaryFolder(t), 'lock'), 'w');
  lastUid += 1;
  const user = [
    '--reuid',
    String(lastUid),
    '--regid',
    String(lastUid),
    '--clear-groups',
    'prlimit',
    `--nproc=${processes}`,
  ];
  const watched = [...shell, ...watcherArguments('tied', '15', '300', '', '0', ...command)];
  const program = startProgram(t, 'setpriv', [...user, ...watched], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe', lock, 'pipe'],
  });
  closeSync(lock);
  return program;
}

for (const shell of SHELLS) {
  for (const processes of [1, 2]) {
    test(`${shell.join(' ')} with a limit of ${processes} processes starts no server without a watcher`, async (t) => {
      const program = asLimitedUser(t, processes, shell, ['/bin/echo', 'started']);
      const { exitCode, stdout } = await program.ended();
      assert.equal(stdout, '');
      assert.notEqual(exitCode, 0);
    });
  }

  test(`${shell.join(' ')} whose watcher cannot fork a sleep still ends a server that ignores SIGTERM`, async (t) => {
    // The limit leaves room for the shell, the process between, and the watcher. After the exec two are left, and the
    // server forks one more.
    const stubborn = 'sleep 300 & trap "" TERM; echo started; wait';
    const program = asLimitedUser(t, 3, shell, ['/bin/sh', '-c', stubborn]);
    await program.printed(/started/);
    (program.child.stdio[4] as Duplex).destroy();
    await eventually('the server has ended', () => !isRunning(program.pid));
  });
}
