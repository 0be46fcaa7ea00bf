/** A system that lets the shell fork no more: without a watcher there is no server. Root is not limited, so another user runs it. */
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

/** Nobody's, and another one each time: its processes are counted for the whole machine, those not collected yet included. */
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
    test(`${shell.join(' ')} with ${processes} processes starts no server that has no watcher`, async (t) => {
      const program = asLimitedUser(t, processes, shell, ['/bin/echo', 'started']);
      const { exitCode, stdout } = await program.ended();
      assert.equal(stdout, '');
      assert.notEqual(exitCode, 0);
    });
  }

  test(`${shell.join(' ')} whose watcher can fork no sleep ends a server that ignores TERM all the same`, async (t) => {
    // The shell, the one between, and the watcher; from the exec on there are two, and the server forks one more.
    const stubborn = 'sleep 300 & trap "" TERM; echo started; wait';
    const program = asLimitedUser(t, 3, shell, ['/bin/sh', '-c', stubborn]);
    await program.printed(/started/);
    (program.child.stdio[4] as Duplex).destroy();
    await eventually('the end of the server', () => !isRunning(program.pid));
  });
}
