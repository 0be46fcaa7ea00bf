/** The text of the watcher by itself, under each shell that can be /bin/sh. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning, reachesState, stateOf } from '../helpers/outside-view.js';
import { type Program, startProgram } from '../helpers/programs.js';
import { seededRandom } from '../helpers/random.js';
import { killAfter, rounds, temporaryFolder } from '../helpers/resources.js';
import {
  argumentsOf,
  descriptorsOf,
  environmentOf,
  groupEnds,
  settledDescriptorsOf,
  settledWatcherOf,
  statusField,
  watcherArguments,
  watcherOf,
} from '../helpers/tied.js';
import { eventually } from '../helpers/waiting.js';
import { SHELLS } from '../helpers/watched.js';
import { livingInGroup } from '../helpers/witness.js';

interface Watched {
  readonly program: Program;
  readonly pid: number;
  /** The signal that ended the server. */
  readonly ended: Promise<string | null>;
  /** Closes the pipe, as the death of the owner does. */
  closePipe(): void;
}

interface Wishes {
  stopSignal?: string;
  graceMs?: number;
  command?: readonly string[];
  env?: NodeJS.ProcessEnv;
}

/** Returns at once: the shell may not have become the command yet. */
function startWatched(
  t: TestContext,
  [shell, ...words]: readonly string[],
  { stopSignal = 'TERM', graceMs = 10_000, command = ['sleep', '300'], env = process.env }: Wishes = {},
): Watched {
  let pipe: Duplex | undefined;
  // This hook is registered first, since the program counts as ended only when this pipe is closed.
  t.after(() => pipe?.destroy());
  const lock = openSync(join(temporaryFolder(t), 'lock'), 'w');
  const args = [...words, ...watcherArguments('tied', stopSignal, String(graceMs), '', '0', ...command)];
  const program = startProgram(t, shell as string, args, {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', lock, 'pipe'],
    env,
  });
  closeSync(lock);
  pipe = program.child.stdio[4] as Duplex;
  const ended = once(program.child, 'exit').then(([, signal]) => signal as string | null);
  return { program, pid: program.pid, ended, closePipe: () => pipe?.destroy() };
}

async function becomes(pid: number, name: string): Promise<void> {
  await eventually(`PID ${pid} is ${name}`, () => argumentsOf(pid)[0] === name);
}

for (const shell of SHELLS) {
  const name = shell.join(' ');

  test(`${name}: the server has the shell’s PID, and ends when the pipe is closed`, async (t) => {
    const { pid, ended, closePipe } = startWatched(t, shell);
    await becomes(pid, 'sleep');
    watcherOf(pid);
    closePipe();
    await groupEnds(pid);
    assert.equal(await ended, 'SIGTERM');
  });

  test(`${name}: a stop signal is not lost, however early it comes, and leaves no watcher behind`, async (t) => {
    const random = seededRandom(t);
    for (let round = 1; round <= rounds(100, { least: 20 }); round += 1) {
      const { pid, ended, closePipe } = startWatched(t, shell);
      await delay(random.between(0, 10));
      process.kill(-pid, 'SIGTERM');
      assert.equal(await ended, 'SIGTERM', `round ${round}`);
      closePipe();
      await groupEnds(pid);
    }
  });

  test(`${name}: an owner that dies while the shell is still starting the server leaves nothing behind`, async (t) => {
    const random = seededRandom(t);
    for (let round = 1; round <= rounds(100, { least: 20 }); round += 1) {
      const { pid, closePipe } = startWatched(t, shell);
      await delay(random.between(0, 10));
      closePipe();
      await groupEnds(pid);
    }
  });

  for (const stopSignal of ['KILL', 'INT', 'WINCH', 'USR1', 'ALRM', 'QUIT', 'NOSUCH'] as const) {
    test(`${name}: with SIG${stopSignal} as stop signal the server ends, too`, async (t) => {
      const isEnding = !['WINCH', 'NOSUCH'].includes(stopSignal);
      const { pid, ended, closePipe } = startWatched(t, shell, { stopSignal, graceMs: isEnding ? 60_000 : 200 });
      await becomes(pid, 'sleep');
      closePipe();
      await groupEnds(pid);
      assert.equal(await ended, isEnding ? `SIG${stopSignal}` : 'SIGKILL');
    });
  }

  test(`${name}: the watcher survives a stop signal that the whole group gets`, async (t) => {
    for (const stopSignal of ['ALRM', 'PROF', 'HUP'] as const) {
      const { pid, closePipe } = startWatched(t, shell, { stopSignal, command: ['cat', '/proc/self/status', '-'] });
      await eventually('the watcher runs', () => livingInGroup(pid).length > 0);
      process.kill(-pid, `SIG${stopSignal}`);
      closePipe();
      await groupEnds(pid);
    }
  });

  test(`${name}: the watcher has neither the lock nor any stream of the server, and uses at most 2 MiB of its own`, async (t) => {
    const { pid } = startWatched(t, shell);
    await becomes(pid, 'sleep');
    const watcher = await settledWatcherOf(pid);
    const { 1: output, 2: errors, 3: lock, 4: pipe } = descriptorsOf(watcher);
    assert.deepEqual([output, errors, lock], ['/dev/null', '/dev/null', undefined]);
    assert.match(pipe ?? '', /^socket:/);
    const { 3: serverLock, 4: serverPipe } = await settledDescriptorsOf(pid);
    assert.match(serverLock ?? '', /lock$/);
    assert.equal(serverPipe, undefined);
    const ownKiB = Number.parseInt(statusField(watcher, 'RssAnon'), 10);
    t.diagnostic(`${name}: ${ownKiB} KiB of its own, ${statusField(watcher, 'VmRSS')} with shared pages`);
    assert.ok(ownKiB <= 2048, `${ownKiB} KiB`);
  });

  test(`${name}: the server has no child that it did not start, and ignores no signal`, async (t) => {
    const { pid } = startWatched(t, shell);
    await becomes(pid, 'sleep');
    assert.notEqual(Number(statusField(watcherOf(pid), 'PPid')), pid);
    for (const set of ['SigIgn', 'SigBlk', 'SigCgt']) assert.match(statusField(pid, set), /^0+$/, set);
  });

  test(`${name}: environment variables named like those of the script arrive unchanged`, async (t) => {
    const own = ['server', 'stop_signal', 'grace_ms', 'waiter', 'line', 'stat', 'state', 'left_ms'];
    const env = { PATH: process.env.PATH, ...Object.fromEntries(own.map((variable) => [variable, `my ${variable}`])) };
    const { pid } = startWatched(t, shell, { env });
    await becomes(pid, 'sleep');
    const { PWD, OLDPWD, SHLVL, _, ...environment } = environmentOf(pid);
    assert.deepEqual(environment, env);
    t.diagnostic(`${name} adds ${JSON.stringify({ PWD, OLDPWD, SHLVL, _ })}`);
  });

  test(`${name}: the survivors of a crashed server are ended when the owner closes the pipe, even a suspended one`, async (t) => {
    const script = 'trap "" TERM; sleep 300 & kill -STOP $!; echo $!; wait';
    const { pid, program, closePipe } = startWatched(t, shell, { command: ['/bin/sh', '-c', script] });
    const child = killAfter(t, Number((await program.printed(/(\d+)\n/))[1]));
    await reachesState(child, 'T');
    program.kill();
    await eventually('the process has crashed', () => !isRunning(pid));
    assert.equal(stateOf(child), 'T');
    closePipe();
    await groupEnds(pid);
  });
}
